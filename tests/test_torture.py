"""Shells and programs that write, against readers on all mounts, who must see whole versions only (design: 2.1).

ZNODEFS_SOAK=N makes N times as many rounds.
"""

import os
import signal
import subprocess
import sys

import pytest
from lib.ensemble import SANITIZED, run, shell
from lib.files import OLD, catch_up, ended, spawn, version

pytestmark = pytest.mark.root

SOAK = int(os.environ.get("ZNODEFS_SOAK", "1"))
ROUNDS = min(9, 3 * SOAK)  # one digit: some contents are compared by place
SHELLS = {"bash": ("bash",), "dash": ("dash",), "busybox": ("busybox", "sh")}


def long_text(number):
    """Longer than a page, and of another length for each number."""
    return "".join(f"{number}: line {line} of a text that is longer than a page\n" for line in range(300 + 50 * number))


def pieces(*ends):
    return lambda number: "".join(f"{number}{end}\n" for end in ends)


def over_old(at, text):
    """`text` laid over OLD."""
    return lambda number: OLD[:at] + text.format(number) + OLD[at + len(text.format(number)):]


# $F is the file, $V the number of the round, $SRC a file with its long text. What stands between the pieces gives the
# readers time to see a piece, if they could.
SCRIPTS = {
    "echo": ('echo $V > $F', pieces("")),
    "long": ('printf "%s\\n" "$(cat $SRC)" > $F', long_text),
    "nothing": (': > $F', lambda number: ""),
    "cp": ('cp $SRC $F', long_text),
    "cat": ('cat $SRC > $F', long_text),
    "here": ('cat > $F <<E\n${V}a\n${V}b\nE', pieces("a", "b")),
    "group": ('{ echo ${V}a; sleep 0.03; /bin/echo ${V}b; } > $F', pieces("a", "b")),
    "group-log": ('{ echo ${V}a; echo log >&2; sleep 0.03; /bin/echo ${V}b; echo ${V}c; } > $F', pieces("a", "b", "c")),
    "group-inner": ('{ echo ${V}a; echo x > $F.x; sleep 0.03; echo ${V}b; } > $F', pieces("a", "b")),
    "descriptor": ('exec 3>$F; echo ${V}a >&3; sleep 0.03; echo ${V}b >&3; exec 3>&-', pieces("a", "b")),
    "duplicate": ('exec 3>$F 4>&3; echo ${V}a >&3; exec 3>&-; sleep 0.03; echo ${V}b >&4; exec 4>&-',
                  pieces("a", "b")),
    "exit": ('exec 3>$F; echo ${V}a >&3; sleep 0.03; echo ${V}b >&3', pieces("a", "b")),
    "stdout": ('exec >$F; echo ${V}a; sleep 0.03; echo ${V}b', pieces("a", "b")),
    "exec": ('exec >$F; echo ${V}a; exec /bin/echo ${V}b', pieces("a", "b")),
    "loop": ('for i in 1 2 3; do echo $V$i; echo x > $F.x; sleep 0.01; done > $F', pieces("1", "2", "3")),
    "while": ('while read -r l; do echo "$l"; done < $SRC > $F', long_text),
    "pipe": ('echo ${V}a | { cat; sleep 0.03; echo ${V}b; } > $F', pieces("a", "b")),
    "subshell": ('( echo ${V}a; sleep 0.03; /bin/echo ${V}b ) > $F', pieces("a", "b")),
    "background": ('{ echo ${V}a; sleep 0.03; echo ${V}b; } > $F & wait', pieces("a", "b")),
    "function": ('f() { echo ${V}a; ls / >/dev/null; sleep 0.03; echo ${V}b; }; f > $F', pieces("a", "b")),
    "nested-shell": ('sh -c "echo ${V}a; sleep 0.03; echo ${V}b" > $F', pieces("a", "b")),
    "substitution": ('echo ${V}a$(sleep 0.03; echo inner >&2) > $F', pieces("a")),
    "both": ('{ echo ${V}a; sleep 0.03; ls /nowhere || echo ${V}b; } > $F 2>/dev/null', pieces("a", "b")),
    "read-write": ('exec 3<>$F; echo ${V}bc >&3; sleep 0.03; echo d >&3; exec 3>&-', over_old(0, "{}bc\nd\n")),
}
PROGRAMS = {
    "tee": ('tee $F < $SRC > /dev/null', long_text),
    "cp-p": ('cp -p $SRC $F', long_text),
    "cp-inside": ('cp $SRC $F.in && cp $F.in $F', long_text),
    "split": ('split -a 1 -b 1M $SRC ${F%a}', long_text),
    "dd": ('dd if=$SRC of=$F bs=777 status=none', long_text),
    "dd-fsync": ('dd if=$SRC of=$F bs=777 conv=fsync status=none', long_text),
    "dd-direct": ('dd if=$SRC of=$F bs=4096 oflag=direct status=none', long_text),
    "dd-notrunc": ('printf x$V | dd of=$F bs=1 seek=2 conv=notrunc status=none', over_old(2, "x{}")),
    "dd-notrunc-fsync": ('printf x$V | dd of=$F bs=1 seek=2 conv=notrunc,fsync status=none', over_old(2, "x{}")),
    "sort": ('sort -s -k 1,1 -o $F $SRC', long_text),
    "tar-overwrite": ('tar --overwrite -xf $SRC.tar --transform "s,.*,$F,"', long_text),
    "rsync-inplace": ('rsync -a --inplace --no-whole-file $SRC $F', long_text),
    "sed-w": ('sed -n "w $F" $SRC', long_text),
    "awk": ('awk -v f=$F \'{ print > f } NR == 9 { system("sleep 0.03") }\' $SRC', long_text),
    "awk-stdout": ("awk '{ print; fflush() }' $SRC > $F", long_text),
    "python": ('''python3 -c 'import sys
with open(sys.argv[1], "w", buffering=64) as f:
    for line in open(sys.argv[2]):
        f.write(line)' $F $SRC''', long_text),
    "python-r+": ('''python3 -c 'import sys, time
with open(sys.argv[1], "r+", buffering=1) as f:
    f.write(sys.argv[2] + "new\\n")
    f.flush(); time.sleep(0.03)
    f.write(sys.argv[2] + "more\\n"); f.truncate()' $F $V''', pieces("new", "more")),
    "python-shutil": ('''python3 -c 'import shutil, sys; shutil.copyfile(*sys.argv[1:])' $SRC $F''', long_text),
    "python-threads": ('''python3 -c 'import os, sys, threading
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
def write(half):
    part = text[half * len(text) // 2:(half + 1) * len(text) // 2]
    other = os.dup(fd)
    os.pwrite(other, part, half * (len(text) // 2))
    os.close(other)
text = open(sys.argv[2], "rb").read()
threads = [threading.Thread(target=write, args=(half,)) for half in (0, 1)]
for t in threads: t.start()
for t in threads: t.join()
os.close(fd)' $F $SRC''', long_text),
    "perl": ("perl -e 'open(F, q(>), shift); $|=1; select(F); print $ARGV[0], qq(a\\n); system(q(sleep 0.03)); "
             "print $ARGV[0], qq(b\\n); close(F)' $F $V", pieces("a", "b")),
    "perl-r+": ("perl -e 'open(F, q(+<), shift); sysseek(F, 2, 0); syswrite(F, q(x)); syswrite(F, shift)' $F $V",
                over_old(2, "x{}")),
    "busybox-cp": ('busybox cp $SRC $F', long_text),
    "busybox-tee": ('busybox tee $F < $SRC > /dev/null', long_text),
    "busybox-dd": ('busybox dd if=$SRC of=$F bs=777 2>/dev/null', long_text),
    "busybox-awk": ("busybox awk -v f=$F '{ print > f }' $SRC", long_text),
}
# These make another file of the name: that it is empty, or for a moment not there, is as on any disk.
REPLACING = {
    "sed": ('cp $SRC $F.x; sed s/x/x/ -i $F.x; mv $F.x $F', long_text, ()),
    "mv": ('cp $SRC $F.x; mv $F.x $F', long_text, ()),
    "rsync": ('rsync -a $SRC $F', long_text, ()),
    "busybox-sed": ('busybox sed -i "s/.*/${V}a/" $F', pieces("a"), ()),
    "mv-from-elsewhere": ('cp $SRC $SRC.x; mv $SRC.x $F', long_text, (None, "")),
    "install": ('install -m 640 $SRC $F', long_text, (None, "")),
    "perl-i": ('perl -i -pe "s/.*/${V}a/" $F', pieces("a"), (None, "")),
    "tar": ('tar -xf $SRC.tar --transform "s,.*,$F,"', long_text, (None, "")),
    "busybox-tar": ('cd $D && cp $SRC $T/$F && busybox tar -cf $T.tar -C $T $F && cd - && busybox tar -xf $T.tar',
                    long_text, (None, "")),
}


@pytest.fixture(scope="module")
def sources(shared):
    """Where the long texts are: source.N, and in source.N.tar."""
    folder = os.path.join(shared.dir, "sources")
    os.makedirs(os.path.join(folder, "t"))
    for number in range(1, ROUNDS + 1):
        with open(os.path.join(folder, f"source.{number}"), "w", encoding="ascii") as file:
            file.write(long_text(number))
        run("tar", "-C", folder, "-cf", os.path.join(folder, f"source.{number}.tar"), f"source.{number}")
    return folder


def torture(shared, readers, sources, shell_argv, name, script):
    """What each server's reader saw while the script ran on server 1 over a file with OLD in it, and by how much the
    file's version grew."""
    shared[1].write(name, OLD)
    for peer in shared:
        catch_up(peer)
    before = version(shared[1], name)
    readers.turn_to(name)
    words = [f"D={sources}", f"T={os.path.join(sources, 't')}", f"F={name}"]
    again = f'for V in $(seq {ROUNDS}); do V=$V SRC=$D/source.$V "$@" || exit 1; done'
    run("env", "-C", shared[1].mount, *words, "bash", "-c", again, "-", *shell_argv, "-c", script)
    for peer in shared:
        catch_up(peer)
    return readers.seen(), version(shared[1], name) - before


def assert_whole(seen, expected, between=()):
    """Every version is whole, and nobody goes back to an older one."""
    versions = [OLD] + [expected(number) for number in range(1, ROUNDS + 1)]
    for sid, (contents, sizes) in seen.items():
        assert set(contents) <= {*versions, *between}, f"server {sid}"
        assert set(sizes) <= {len(each) for each in {*versions, *between} if each is not None}, f"server {sid}"
        numbers = [versions.index(each) for each in contents if each in versions]
        assert numbers == sorted(numbers) and contents[-1] == versions[-1], f"server {sid}"


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("shell_name", SHELLS)
def test_shell(shared, readers, sources, shell_name, script):
    words, expected = SCRIPTS[script]
    seen, grown = torture(shared, readers, sources, SHELLS[shell_name], f"{shell_name}-{script}", words)
    assert_whole(seen, expected)
    assert grown == ROUNDS, "each time one transaction"


@pytest.mark.parametrize("script", PROGRAMS)
def test_program(shared, readers, sources, script):
    words, expected = PROGRAMS[script]
    seen, grown = torture(shared, readers, sources, SHELLS["bash"], f"program-{script}-a", words)
    assert_whole(seen, expected)
    assert grown == ROUNDS, "each time one transaction"


@pytest.mark.parametrize("script", REPLACING)
def test_replacing(shared, readers, sources, script):
    words, expected, between = REPLACING[script]
    seen, _ = torture(shared, readers, sources, SHELLS["bash"], f"replacing-{script}", words)
    assert_whole(seen, expected, between)


# ---- many at once ----

WRITER = """
import os, sys
path, sid, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])

def text(number):
    return f"{sid} {number} {'x' * (number * 4099 % 30000)} {sid} {number}\\n".encode()

def pieces(fd, data):
    at = 0
    for end in (len(data) // 3, len(data) // 2, len(data)):
        assert os.pwrite(fd, data[at:end], at) == end - at
        at = end

for number in range(rounds):
    way = number % 5
    data = text(number % 20)
    if way == 0:  # over another file, by rename
        with open(f"{path}.{sid}", "wb", buffering=0) as file:
            pieces(file.fileno(), data)
        os.rename(f"{path}.{sid}", path)
        continue
    fd = os.open(path, os.O_RDWR | (os.O_TRUNC if way < 4 else 0))
    pieces(fd, data)
    if way == 1:
        os.fsync(fd)
    elif way == 4:
        os.ftruncate(fd, len(data))
    elif way == 3:
        other = os.dup(fd)
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        os.close(other)
    os.close(fd)
"""
KILLED = """
import os, sys
while True:
    fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC)
    os.write(fd, b"half")
    os.write(fd, b" of what nobody shall ever see")
    os.write(fd, b"")
    os.kill(os.getpid(), 9)
"""


def test_writers_on_every_mount(shared, readers):
    """All ways to write a file whole, by many at once, and by some who are killed before they close."""
    rounds = (20 if SANITIZED else 40) * SOAK
    shared[1].write("contended", OLD)
    for peer in shared:
        catch_up(peer)
    readers.turn_to("contended")
    writers = [spawn(sys.executable, "-c", WRITER, peer.path("contended"), str(peer.sid), str(rounds))
               for peer in shared]
    while any(writer.poll() is None for writer in writers):
        for peer in shared:
            assert ended(spawn(sys.executable, "-c", KILLED, peer.path("contended")))[0] == -signal.SIGKILL
    for writer in writers:
        assert ended(writer) == (0, "")
    for peer in shared:
        catch_up(peer)
    whole = {OLD} | {f"{sid} {number} {'x' * (number * 4099 % 30000)} {sid} {number}\n"
                     for sid in (1, 2, 3) for number in range(20)}
    for sid, (contents, sizes) in readers.seen().items():
        assert set(contents) <= whole, f"server {sid}"
        assert set(sizes) <= {len(each) for each in whole}, f"server {sid}"
        assert len(contents) > 5, f"server {sid} has seen next to nothing"


APPENDER = """
import os, sys
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
fd = os.open(path, os.O_WRONLY | os.O_APPEND)
for number in range(count):
    line = f"{name} {number} {'x' * (number * 997 % 5000)} end\\n".encode()
    assert os.write(fd, line) == len(line)
os.close(fd)
"""


def test_appends_from_everywhere(shared):
    count = 60 * SOAK
    shared[1].write("appended", "")
    shared.wait_equal()
    writers = [subprocess.Popen([sys.executable, "-c", APPENDER, peer.path("appended"), f"{peer.sid}.{number}",
                                 str(count)]) for peer in shared for number in range(2)]
    for writer in writers:
        assert writer.wait(60) == 0
    expected = {f"{sid}.{writer} {number} {'x' * (number * 997 % 5000)} end"
                for sid in (1, 2, 3) for writer in (0, 1) for number in range(count)}
    for peer in shared:
        catch_up(peer)
        lines = peer.read("appended").splitlines()
        assert len(lines) == len(expected) and set(lines) == expected
        for name in (f"{sid}.{writer}" for sid in (1, 2, 3) for writer in (0, 1)):
            numbers = [int(line.split()[1]) for line in lines if line.startswith(name + " ")]
            assert numbers == sorted(numbers), "one writer's appends are in its order"


def test_trees_are_equal(shared):
    shell(f"rm -r {shared[1].mount}/*", deadline=60)
    shared.assert_same_trees()
