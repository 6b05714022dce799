"""Peers that authenticate and encrypt: with a shared key, with certificates, and against those that do not."""

import os
import socket
import stat
import subprocess
import time

import pytest
from lib.ensemble import BINARY, ENVIRONMENT, run, shell, wait_until

pytestmark = pytest.mark.root

CONFIG = 2


def make_key(folder, name="key"):
    path = os.path.join(folder, name)
    run(BINARY, "--genkey", path)
    return path


def refused(peer, reason):
    """How many connections this peer has refused for a reason."""
    for line in peer.metrics().splitlines():
        if line.startswith(f'znodefs_peer_connections_refused_total{{reason="{reason}"}}'):
            return int(line.split()[-1])
    raise AssertionError(f"no such reason in the metrics: {reason}")


def everywhere(ensemble, name, contents):
    for peer in ensemble.running():
        wait_until(lambda each=peer: each.read(name) == contents, 30, f"{name} at {peer.sid}")


def test_genkey(folder):
    path = make_key(folder)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with open(path, encoding="ascii") as file:
        key = file.read()
    assert len(key) == 65 and int(key, 16) > 0
    again = run(BINARY, "--genkey", path, check=False)
    assert again.returncode == 1 and "File exists" in again.stderr
    assert run(BINARY, "--genkey") != run(BINARY, "--genkey")
    # A redirection makes the file as the umask says.
    redirected = os.path.join(folder, "redirected")
    shell(f"umask 022; {BINARY} --genkey > {redirected}")
    assert stat.S_IMODE(os.stat(redirected).st_mode) == 0o600
    full = shell(f"{BINARY} --genkey > /dev/full", check=False)
    assert full.returncode == 1 and "stdout" in full.stderr


@pytest.mark.parametrize("mode", (0o644, 0o640, 0o660, 0o604))
def test_key_that_others_can_read(make_ensemble, folder, mode):
    key = make_key(folder)
    ensemble = make_ensemble(start=False, config={"znodefs.keyFile": key})
    os.chmod(key, mode)
    done = run(*ensemble[1].command(), check=False)
    assert done.returncode == CONFIG
    assert f"{key}: others than its owner may read or write it: chmod 600 {key}" in done.stderr
    observer = run(BINARY, "-f", "-o", f"keyFile={key}", "10.0.0.1", ensemble[1].mount, check=False)
    assert observer.returncode == CONFIG and "chmod 600" in observer.stderr


def test_three_with_a_key(make_ensemble, folder):
    ensemble = make_ensemble(config={"znodefs.keyFile": make_key(folder)})
    ensemble[1].write("f", "one\n")
    everywhere(ensemble, "f", "one\n")
    for peer in ensemble:
        status = peer.status()
        assert status["tls"] == "key" and status["insecure"] == "no"
    ensemble.leader().kill9()
    left = ensemble.running()
    ensemble.wait_quorum()
    left[0].write("f", "two\n")
    everywhere(ensemble, "f", "two\n")
    for peer in ensemble:
        if peer not in left:
            peer.restart()
    ensemble.wait_quorum()
    shell(f"cd {ensemble[1].mount} && head -c 1000000 /dev/urandom > a && for i in $(seq 20); do cp a b$i; done", 120)
    ensemble.assert_same_trees()


def test_wrong_key(make_ensemble, folder):
    """One with another key is kept out; the others go on, and say it once."""
    key, other = make_key(folder), make_key(folder, "other")
    ensemble = make_ensemble(config={"znodefs.keyFile": key}, start=False)
    for peer in ensemble:
        peer.start(wait=False)
    for peer in ensemble:
        peer.wait_answering()
    ensemble.wait_quorum()
    ensemble[3].stop()
    shell(f"sed -i 's|{key}|{other}|' {ensemble[3].cfg}")
    ensemble[3].start()
    pair = [ensemble[1], ensemble[2]]
    ensemble.wait_quorum(among=pair)
    pair[0].write("f", "one\n")
    wait_until(lambda: pair[1].read("f") == "one\n", 30)
    for peer in pair:
        wait_until(lambda each=peer: refused(each, "key") >= 10, 60, "ten refusals")
        assert peer.log_text().count("it has another key: give every peer the same key file") == 1
    assert ensemble[3].status()["quorum"] == "no"
    assert ensemble[3].log_text().count("refused server.1 at 127.0.0.1") == 1
    ensemble[3].stop()
    shell(f"sed -i 's|{other}|{key}|' {ensemble[3].cfg}")
    ensemble[3].start()
    ensemble.wait_quorum()
    everywhere(ensemble, "f", "one\n")


def test_observers_with_a_key(make_ensemble, folder):
    key = make_key(folder)
    ensemble = make_ensemble(config={"znodefs.keyFile": key})
    observer = ensemble.observer("o", f"keyFile={key}")
    observer.write("f", "by an observer\n")
    everywhere(ensemble, "f", "by an observer\n")
    assert observer.status()["tls"] == "key"
    for name, options in (("plain", ()), ("other", (f"keyFile={make_key(folder, 'other')}",))):
        stranger = ensemble.observer(name, *options, wait=False)
        stranger.wait_answering()
        reason = "plaintext" if name == "plain" else "key"
        wait_until(lambda word=reason: refused(ensemble[1], word) >= 2, 30, f"{name} to be refused")
        assert stranger.status()["state"] == "looking" and stranger.status()["quorum"] == "no"
        stranger.stop()
    assert ensemble[1].log_text().count("it speaks without TLS: only peers with the key") == 1


def test_observer_with_a_key_where_there_is_none(make_ensemble, folder):
    ensemble = make_ensemble()
    assert ensemble[1].status()["tls"] == "none"
    observer = ensemble.observer("o", f"keyFile={make_key(folder)}", wait=False)
    observer.wait_answering()
    wait_until(lambda: refused(ensemble[1], "tls") >= 2, 30, "the observer to be refused")
    assert ensemble[1].log_text().count("it speaks TLS, and this peer does not: give this one the key") == 1
    assert observer.status()["quorum"] == "no"


def test_nothing_of_a_znode_is_on_the_wire(make_ensemble, folder):
    """What the kernel carries between the peers, seen by somebody who may see everything."""
    ensemble = make_ensemble(config={"znodefs.keyFile": make_key(folder)})
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    wire.bind(("lo", 0))
    wire.setblocking(False)
    ensemble[1].write("f", "a secret that nobody may see\n" * 10)
    everywhere(ensemble, "f", "a secret that nobody may see\n" * 10)
    seen = 0
    ports = {port.to_bytes(2, "big") for port in ensemble.ports}
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            packet = wire.recv(65535)
        except BlockingIOError:
            break
        if packet[34:36] in ports or packet[36:38] in ports:
            seen += len(packet)
            assert b"nobody may see" not in packet and b"zNod" not in packet
    wire.close()
    assert seen > 1000


# ---- certificates ----


def openssl(*argv):
    run("openssl", *argv)


def make_authority(folder, name="ca"):
    """Its certificate and its key, as files."""
    crt, key = os.path.join(folder, f"{name}.pem"), os.path.join(folder, f"{name}.key")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
            f"/CN={name}", "-keyout", key, "-out", crt)
    return crt, key


def make_store(folder, name, authority, hosts="IP:127.0.0.1,DNS:localhost"):
    """A key store with a key and a certificate for `hosts`."""
    crt, key = os.path.join(folder, f"{name}.crt"), os.path.join(folder, f"{name}.key")
    request, store = os.path.join(folder, f"{name}.csr"), os.path.join(folder, f"{name}.store.pem")
    extensions = os.path.join(folder, f"{name}.ext")
    with open(extensions, "w", encoding="ascii") as file:
        file.write(f"subjectAltName={hosts}\n")
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-keyout", key, "-out", request)
    openssl("x509", "-req", "-in", request, "-CA", authority[0], "-CAkey", authority[1], "-CAcreateserial", "-days", "2",
            "-extfile", extensions, "-out", crt)
    shell(f"umask 077; cat {key} {crt} > {store}")
    return store


def certificates(store, trust):
    return {"sslQuorum": "true", "ssl.quorum.keyStore.location": store, "ssl.quorum.trustStore.location": trust}


def test_three_with_certificates(make_ensemble, folder):
    authority = make_authority(folder)
    foreign = make_authority(folder, "foreign")
    ensemble = make_ensemble(config=certificates(make_store(folder, "peer", authority), authority[0]))
    ensemble[1].write("f", "one\n")
    everywhere(ensemble, "f", "one\n")
    assert ensemble[2].status()["tls"] == "certificate"
    stores = {"good": make_store(folder, "good", authority, "DNS:somewhere.else"),
              "bad": make_store(folder, "bad", foreign)}
    good = ensemble.observer("good", f"keyStore={stores['good']},trustStore={authority[0]}")
    assert good.read("f") == "one\n"
    bad = ensemble.observer("bad", f"keyStore={stores['bad']},trustStore={authority[0]}", wait=False)
    bad.wait_answering()
    wait_until(lambda: refused(ensemble[1], "certificate") >= 2, 30, "the foreign certificate to be refused")
    assert bad.status()["quorum"] == "no"
    assert ensemble[1].log_text().count("its certificate is not accepted") == 1
    # One of the ensemble's that is for another host is good for an observer only.
    ensemble[3].stop()
    shell(f"sed -i 's|^ssl.quorum.keyStore.*|ssl.quorum.keyStore.location={stores['good']}|' {ensemble[3].cfg}")
    ensemble[3].start()
    wait_until(lambda: "its certificate is not for 127.0.0.1, the host of server.3" in ensemble[1].log_text(), 30)
    assert ensemble[3].status()["quorum"] == "no"
    ensemble[3].stop()
    shell(f"echo ssl.quorum.hostnameVerification=false | tee -a {ensemble[1].cfg} {ensemble[2].cfg} >> {ensemble[3].cfg}")
    for peer in ensemble:
        peer.restart(wait=False)
    for peer in ensemble:
        peer.wait_answering()
    ensemble.wait_quorum()
    everywhere(ensemble, "f", "one\n")


# ---- lists that differ ----


def test_other_participants(make_ensemble):
    """A server that lists fewer than the others talks to none of them, and both say why."""
    ensemble = make_ensemble()
    ensemble[3].stop()
    shell(f"sed -i '/^server.1=/d' {ensemble[3].cfg}")
    ensemble[3].start()
    wait_until(lambda: refused(ensemble[2], "participants") >= 2, 30, "the other list to be refused")
    assert ensemble[3].status()["quorum"] == "no"
    for peer, other in ((ensemble[2], 3), (ensemble[3], 2)):
        assert peer.log_text().count(f"server.{other} has a zoo.cfg that lists other participants") == 1
    ensemble[1].write("f", "one\n")
    wait_until(lambda: ensemble[2].read("f") == "one\n", 30)


# ---- what it costs ----


def writes_per_second(ensemble, writers=64, seconds=3):
    """Of `writers` shells, each rewriting a file of its own through one of the mounts."""
    script = ("i=0; end=$((SECONDS + {s})); while [ $SECONDS -lt $end ]; do i=$((i + 1)); echo $i > {f}; done; echo $i")
    shells = [subprocess.Popen(["bash", "-c", script.format(s=seconds, f=ensemble[1 + n % 3].path(f"w{n}"))],
                               stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) for n in range(writers)]
    return sum(int(each.communicate(timeout=120)[0]) for each in shells) / seconds


def test_throughput_beside_plaintext(make_ensemble, folder):
    plain = make_ensemble()
    figures = {"plaintext": writes_per_second(plain)}
    for peer in plain:
        peer.stop()
    sealed = make_ensemble(config={"znodefs.keyFile": make_key(folder)})
    figures["with a key"] = writes_per_second(sealed)
    print("writes per second of 64 writers:", ", ".join(f"{name} {value:.0f}" for name, value in figures.items()))
    assert all(figures.values())
