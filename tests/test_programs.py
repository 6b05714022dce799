"""Programs that people use, on a mount as on a disk."""

import os
import re
import shutil
import sys

import pytest
from lib.ensemble import run, shell, wait_until
from lib.files import ended, python, seen_everywhere, spawn
from lib.quorum import SLACK

pytestmark = pytest.mark.root

DEADLINE = 90
# A tree with all that a file system keeps: names, links, modes, times, xattrs, empty and large files, empty folders.
TREE = """
mkdir -p $T/a/b/c $T/empty '$T/with blank' && cd $T
for i in $(seq 40); do echo "file $i" > a/f$i; done
printf '\\0\\1\\377' > a/b/binary; : > a/b/nothing; head -c 700000 /dev/urandom > a/b/c/large; echo '#!/bin/sh' > a/run
chmod 755 a/run; chmod 600 a/f1; chmod 1777 empty; chmod 2755 a/b; chown 12:34 a/f2; ln -s ../f1 a/b/link; ln -s nowhere a/dangling
setfattr -n user.colour -v blue a/f3; setfattr -n user.shape -v round a/b
touch -d @1234567890.123456789 a/f4; touch -h -d @1111111111 a/dangling; touch -d @1222222222 empty a/b
""".replace("'$T/with blank'", '"$T/with blank"')
# What differs would be printed. Owner, mode, size, time, target and contents of everything below.
DESCRIBE = ("cd $T && find . -mindepth 1 -printf '%P %M %U %G %l ' \\( -type d -printf '\\n' -o -printf '%s %T@\\n' \\) | "
            "sort; find . -type f -print0 | sort -z | xargs -0 md5sum; getfattr -RPhd -m user .")


@pytest.fixture(scope="module")
def tree(shared):
    """A local folder with TREE in it."""
    folder = os.path.join(shared.dir, "tree")
    shell(TREE.replace("$T", folder))
    return folder


@pytest.fixture
def place(shared, request):
    """A folder on server 1's mount for one test; everybody has the same tree when the test is over."""
    name = re.sub(r"\W+", "-", request.node.name)
    path = shared[1].path(name)
    run("mkdir", path)
    yield path
    run("rm", "-rf", path, deadline=DEADLINE)
    shared.assert_same_trees()


def describe(folder):
    return shell(DESCRIBE.replace("$T", folder), deadline=DEADLINE)


def on(ensemble, sid, place):
    """The same folder on another server's mount, with what was done until now."""
    run("sync", ensemble[sid].mount)
    return os.path.join(ensemble[sid].mount, os.path.basename(place))


def script(place, text, **variables):
    """Runs a script in `place` that ends at the first command that fails."""
    words = [f"{key}={value}" for key, value in variables.items()]
    return run("env", "-C", place, *words, "bash", "-euc", "set -o pipefail\n" + text, deadline=DEADLINE)


# ---- copying trees ----

COPIERS = {
    "cp": "cp -a $SRC copy",
    "tar": "tar -C $SRC --xattrs -cf - . | { mkdir copy; tar -C copy --xattrs -xpf -; }; "
           "tar -C $SRC --xattrs -cf archive . && tar -C copy -df archive && rm archive",
    "rsync": "rsync -aX $SRC/ copy/ && test -z \"$(rsync -aXni --checksum $SRC/ copy/)\"",
    "rsync-inplace": "rsync -aX --inplace $SRC/ copy/ && rsync -aX --inplace $SRC/ copy/",
    "shutil": "python3 -c 'import shutil, sys; shutil.copytree(sys.argv[1], \"copy\", symlinks=True)' $SRC; "
              "chown 12:34 copy/a/f2",
    "find": "mkdir copy; (cd $SRC; find . -print0) | tar -C $SRC --null --no-recursion --xattrs -T - -c | "
                 "tar -C copy --xattrs -xp",
}


@pytest.mark.parametrize("how", COPIERS)
def test_copying_a_tree(shared, place, tree, how):
    """In, within and out again: the same everywhere."""
    script(place, COPIERS[how], SRC=tree)
    wanted = describe(tree)
    assert describe(os.path.join(place, "copy")) == wanted
    assert describe(os.path.join(on(shared, 2, place), "copy")) == wanted
    script(place, "mkdir sub && mv copy sub/moved && cp -a sub/moved copy")
    assert describe(os.path.join(on(shared, 3, place), "copy")) == wanted
    out = os.path.join(shared.dir, "out")
    script(on(shared, 2, place), "cp -a sub/moved $OUT", OUT=out)
    assert describe(out) == wanted
    shutil.rmtree(out)


def test_rsync_delete(shared, place, tree):
    script(place, """rsync -aX $SRC/ copy/
echo changed > copy/a/f1; rm copy/a/f2; echo new > copy/new; mkdir -p copy/dir/dir; echo x > copy/dir/dir/x
rsync -aX --delete $SRC/ copy/""", SRC=tree)
    assert describe(os.path.join(on(shared, 3, place), "copy")) == describe(tree)


def test_rsync_delete_from_a_starting_peer(make_ensemble, folder):
    """A peer that has no state shows no empty tree: rsync fails, and what is backed up stays."""
    ensemble = make_ensemble(3, start=False, options=("timeo=1",))
    backup = os.path.join(folder, "backup")
    shell(f"mkdir {backup} && echo precious > {backup}/file && mkdir {backup}/dir && echo x > {backup}/dir/x")
    alone = ensemble[1]
    alone.start()
    for arguments in (("-a", "--delete", alone.path(), backup + "/"), ("-a", "--delete", alone.path("app/"), backup + "/"),
                      ("-a", "--delete", "--delete-excluded", "--force", alone.mount + "/", backup)):
        done = run("rsync", *arguments, check=False, deadline=20 + SLACK)
        assert done.returncode != 0 and "Input/output error" in done.stderr, done
        assert shell(f"cd {backup} && cat file dir/x") == "precious\nx\n"
    # Neither does it go the other way: nothing is taken for absent there and made anew.
    assert run("rsync", "-a", "--delete", backup + "/", alone.path("app/"), check=False, deadline=20).returncode != 0
    ensemble[2].start()
    ensemble[3].start()
    ensemble.wait_quorum()
    run("rsync", "-a", "--delete", backup + "/", alone.path("app/"))
    ensemble.wait_equal()
    assert ensemble[2].read("app/dir/x") == "x\n"
    # A member that has lost its data, while it is synchronized again.
    run("rsync", "-a", "--delete", ensemble[3].path("app/"), backup + "/")
    assert shell(f"cd {backup} && cat file dir/x") == "precious\nx\n"


def test_shutil(shared, place, tree):
    python("""import os, shutil, sys, tempfile
place, source = sys.argv[1:]
os.chdir(place)
shutil.copytree(source, "one", symlinks=True)
shutil.copytree("one", "two", symlinks=True)
shutil.move("two", "three")
shutil.move("three/a/f1", "f1")
shutil.copy2("f1", "three/a/f1")
with tempfile.TemporaryDirectory() as local:
    shutil.move("one", local)
    assert not os.path.exists("one")
    shutil.move(os.path.join(local, "one"), "back")
shutil.make_archive("archive", "gztar", "back")
shutil.unpack_archive("archive.tar.gz", "unpacked")
assert sorted(os.listdir("unpacked/a")) == sorted(os.listdir("back/a")) == sorted(os.listdir("three/a"))
for name in ("back", "three", "unpacked"):
    shutil.rmtree(name)
with tempfile.NamedTemporaryFile(dir=".", delete=False) as file:
    file.write(b"whole")
os.replace(file.name, "final")
assert sorted(os.listdir(".")) == ["archive.tar.gz", "f1", "final"], os.listdir(".")
""", place, tree, deadline=DEADLINE)
    assert run("ls", on(shared, 2, place)) == "archive.tar.gz\nf1\nfinal\n"


def test_find_and_xargs(shared, place):
    script(place, """for d in $(seq 20); do mkdir d$d; for f in $(seq 10); do echo $d $f; done | split -l 1 - d$d/f; done
test $(find . -type f | wc -l) = 200
find . -type f -print0 | xargs -0 -P 4 -n 10 sed -i 's/^/x/'
test $(grep -rl '^x' . | wc -l) = 200
find . -name '*a' -print0 | xargs -0 -P 2 -I{} mv {} {}.moved
test $(find . -name '*.moved' | wc -l) = 20
find . -type f -name '*.moved' -exec cp {} {}.copy ';'
find . -type f -newer d1/fab -size -2 -delete || true
find . -mindepth 1 -delete
test -z "$(ls -A)" """)
    assert run("ls", "-A", on(shared, 3, place)) == ""


# ---- git and make ----

GIT_ENVIRONMENT = ("GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b",
                   "GIT_CONFIG_NOSYSTEM=1", "HOME=/nonexistent", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory",
                   "GIT_CONFIG_VALUE_0=*")


def git(folder, text, *variables):
    return run("env", "-C", folder, *GIT_ENVIRONMENT, *variables, "bash", "-euc", text, deadline=DEADLINE)


def test_git(shared, place, tree):
    text = """git init -q repo && cd repo
cp -a $SRC/. . && git add -A && git commit -q -m one
for i in $(seq 8); do echo $i >> a/f5; git commit -q -a -m "change $i"; done
git checkout -q -b branch && git mv a/f6 moved && git rm -q a/f7 && git commit -q -m branch
git checkout -q - && echo other > a/f8 && git commit -q -a -m other && git merge -q -m merge branch
git tag -a -m tag v1 && git stash list && git worktree add -q ../worktree branch && git worktree remove ../worktree
git fsck --strict && git gc -q --prune=now && git fsck --full --strict
test -z "$(git status --porcelain)"
cd .. && git clone -q repo clone && git clone -q --bare repo bare.git && cd clone && git fsck --strict
echo pushed > a/f9 && git commit -q -a -m pushed && git push -q ../bare.git HEAD:refs/heads/pushed
cd ../repo && git pull -q ../bare.git pushed && cat a/f9 && git log --oneline | wc -l"""
    told = git(place, text, f"SRC={tree}")
    assert told == "pushed\n13\n"
    other = on(shared, 2, place)
    told = git(other, "cd repo && git fsck --strict && test -z \"$(git status --porcelain)\" && echo two >> a/f9 && "
               "git commit -q -a -m two && git log --oneline | wc -l")
    assert told == "14\n"
    # Two commit at once, on two mounts: one gets the lock, or both one after the other; the repository stays whole.
    run("sync", place)
    both = [spawn("env", "-C", os.path.join(folder, "repo"), *GIT_ENVIRONMENT, "bash", "-c",
                  f"for i in 1 2 3; do git commit -q --allow-empty -m {number}; done; true")
            for number, folder in enumerate((place, other))]
    for each in both:
        assert ended(each, DEADLINE)[0] == 0
    run("sync", place)
    git(place, "cd repo && git fsck --strict")


def test_make(shared, place):
    """A small program compiled from scratch and again: only what has changed is built, on each mount."""
    script(place, r"""cat > Makefile <<'E'
prog: main.o part.o
	gcc -o $@ $^
%.o: %.c part.h
	gcc -g -c -o $@ $<
E
echo 'int part(void);' > part.h
echo '#include "part.h"
int part(void) { return 7; }' > part.c
echo '#include "part.h"
#include <stdio.h>
int main(void) { printf("%d\n", part()); return 0; }' > main.c
make -s && test $(./prog) = 7
make | grep -q 'up to date'
sed -i s/7/8/ part.c
test "$(make | grep -c -e '-c -o')" = 1 && test $(./prog) = 8""")
    script(on(shared, 2, place), """make | grep -q 'up to date'
touch main.c && test "$(make | grep -c -e '-c -o')" = 1
touch part.h && test "$(make -j2 | grep -c -e '-c -o')" = 2 && test $(./prog) = 8
make | grep -q 'up to date'""")
    script(on(shared, 3, place), "test $(./prog) = 8 && make | grep -q 'up to date' && rm *.o prog && make -s && ./prog")


# ---- editors and those who replace files ----

VIM = shutil.which("vim.tiny") or shutil.which("vim") or "vim"


@pytest.mark.parametrize("backupcopy", ["yes", "no", "auto", "auto,breaksymlink,breakhardlink"])
@pytest.mark.parametrize("backup", ["backup", "nobackup nowritebackup"])
def test_vim(shared, readers, backupcopy, backup):
    """Each way of vim to save: readers see the old or the new, and owner and mode stay."""
    name = f"vim-{backupcopy[:12]}-{backup.split()[0]}"
    path = shared[1].path(name)
    old, new = ("".join(f"{word} {line}\n" for line in range(3000)) for word in ("old", "new"))
    shared[1].write(name, old)
    shell(f"chmod 640 {path}; chown 12:34 {path}; sync {shared[2].mount} {shared[3].mount}")
    readers.turn_to(name)
    run(VIM, "-u", "NONE", "-N", "-es", "-c", f"set {backup} backupcopy={backupcopy} fsync", "-c", "%s/old/new/",
        "-c", "wq", path)
    shell(f"sync {shared[2].mount} {shared[3].mount}")
    # Where it renames there is no file of the name for a moment, and then a new one, as on a disk.
    between = {None, ""} if backupcopy != "yes" else set()
    for sid, (contents, _) in readers.seen().items():
        assert contents[-1] == new and set(contents) <= {old, new} | between, f"server {sid}"
    seen_everywhere(shared, f"stat -c '%a %u %g' {name}; ls -A | grep -c '^\\.{name}' || true", "640 12 34\n0\n")
    run("rm", "-f", path, path + "~")


REPLACERS = {
    "python-replace": """python3 -c 'import os, sys, tempfile
fd, name = tempfile.mkstemp(dir=".")
with os.fdopen(fd, "w") as f:
    f.write(sys.stdin.read()); f.flush(); os.fsync(f.fileno())
os.replace(name, "f"); d = os.open(".", os.O_RDONLY); os.fsync(d); os.close(d)'""",
    "mv": "cat > .f.new && mv -f .f.new f",
    "rename-backup": "cat > f.new && cp -p f f.bak && mv f.new f",
    "in-place": "cat > f.new && cp -p f f~ && cat f.new > f && rm f.new",  # as nano does with -B
    "sponge": "python3 -c 'import sys; t = sys.stdin.read(); open(\"f\", \"w\").write(t)'",
    "sed": "cat > f.in && V=$(head -c 1 f.in) && sed -i \"s/^[0-9]*/$V/\" f",
    "install": "cat > f.new && install -m 644 f.new f.tmp && mv f.tmp f",
    "perl": "perl -e 'local $/; my $t = <STDIN>; open(my $f, q(>), q(f.tmp)); print $f $t; close $f; "
            "rename q(f.tmp), q(f)'",
}


@pytest.mark.parametrize("how", REPLACERS)
def test_saving(shared, place, readers, how):
    """Readers on all mounts see whole versions only, in order."""
    def text(number):
        return "".join(f"{number} line {line}\n" for line in range(1000))

    name = os.path.relpath(os.path.join(place, "f"), shared[1].mount)
    run("dd", f"of={place}/f", "bs=1M", "status=none", stdin=text(0))
    for peer in shared:
        run("sync", peer.mount)
    readers.turn_to(name)
    for number in range(1, 6):
        run("env", "-C", place, "bash", "-euc", REPLACERS[how], stdin=text(number))
    for peer in shared:
        run("sync", peer.mount)
    for sid, (contents, _) in readers.seen().items():
        numbers = [int(each.split()[0]) for each in contents]
        assert contents == [text(number) for number in numbers] and numbers == sorted(numbers), f"server {sid}"
        assert numbers[-1] == 5


LOOKER = """
import os
seen = []
while not os.path.exists("done"):
    try:
        with open("current/version") as file:
            version = int(file.read())
    except FileNotFoundError:
        version = 0
    if version not in seen:
        seen.append(version)
assert seen == sorted(seen) and seen, seen
"""


@pytest.mark.parametrize("how", ["ln -sfnT releases/$v .current && mv -T .current current", "ln -sfn releases/$v current"])
def test_switching_a_symlink(shared, place, how):
    """As deploy tools do. Both ways rename: the link is always there."""
    script(place, "for v in $(seq 20); do mkdir -p releases/$v; echo $v > releases/$v/version; done; "
           "ln -s releases/1 current")
    folders = [place, on(shared, 2, place), on(shared, 3, place)]
    lookers = [spawn(sys.executable, "-c", LOOKER, cwd=each) for each in folders]
    script(place, f"for v in $(seq 20); do {how}; done; test $(cat current/version) = 20; touch done")
    for each in lookers:
        assert ended(each, 30) == (0, "")


def test_entrypoint(shared, readers, place):
    """As containers start: a configuration from a template and the environment."""
    name = os.path.relpath(os.path.join(place, "app.conf"), shared[1].mount)
    script(place, "echo 'port = @PORT@' > template; echo none > app.conf")
    for peer in shared:
        run("sync", peer.mount)
    readers.turn_to(name)
    run("env", "-C", place, "PORT=80", "bash", "-euc", """cat > app.conf <<-EOF
	# made for ${PORT}
	listen = ${PORT}
	$(sed s/@PORT@/$PORT/ template)
	EOF
exec sh -c 'set -e; { cat app.conf; echo "pid = 1"; } > app.conf.tmp; mv app.conf.tmp app.conf; exec tail -n 1 app.conf'
""")
    for peer in shared:
        run("sync", peer.mount)
    first = "# made for 80\nlisten = 80\nport = 80\n"
    for sid, (contents, _) in readers.seen().items():
        assert set(contents) <= {"none\n", first, first + "pid = 1\n"}, f"server {sid}"
        assert contents[-1] == first + "pid = 1\n", f"server {sid}"


# ---- logs, pagers, mail ----

def test_tail(shared, place):
    """tail -f follows what another mount appends, also over copytruncate; -F over a rotation by rename."""
    script(place, "echo first > log; echo first > rotated")
    there = on(shared, 2, place)
    tails = {name: spawn("tail", "-n", "+1", "-s", "0.1", how, f"--pid={os.getpid()}", os.path.join(there, name))
             for name, how in (("log", "-f"), ("rotated", "-F"))}

    def expect(name, text):
        while True:
            line = tails[name].stdout.readline()
            assert line, f"tail of {name} has ended"
            if line == text + "\n":
                return

    try:
        for name in tails:
            expect(name, "first")
        script(place, "echo second >> log; echo second >> rotated")
        for name in tails:
            expect(name, "second")
        script(place, "cp log log.1; : > log; mv rotated rotated.1; echo third >> rotated")  # what logrotate does
        expect("rotated", "third")
        script(place, "for i in 1 2 3; do echo after $i >> log; done")
        expect("log", "after 3")
    finally:
        for each in tails.values():
            each.kill()
            ended(each)
    assert script(place, "cat log.1 rotated.1 rotated log") == "first\nsecond\n" * 2 + "third\nafter 1\nafter 2\nafter 3\n"


def test_pagers(shared, place):
    script(place, "seq 5000 > numbers; gzip -k numbers")
    there = on(shared, 3, place)
    wanted = run("seq", "5000")
    for argv in (("less", "numbers"), ("zcat", "numbers.gz"), ("head", "-n", "5000", "numbers"),
                 ("tail", "-n", "5000", "numbers"), ("sed", "-n", "p", "numbers"), ("awk", "1", "numbers")):
        assert run("env", "-C", there, *argv) == wanted, argv
    assert run("env", "-C", there, "more", "numbers").endswith("\n" + wanted)
    assert run("env", "-C", there, "tail", "-c", "5", "numbers") == "5000\n"
    assert run("env", "-C", there, "tac", "numbers").startswith("5000\n4999\n")
    assert run("env", "-C", there, "dd", "if=numbers", "bs=100", "skip=1", "count=1", "status=none") == wanted[100:200]


DELIVERY = """
import os, sys, time
lock, box, count = sys.argv[1:]
for number in range(int(count)):
    while True:
        try:
            os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            time.sleep(0.001)
    fd = os.open(box, os.O_RDWR)
    os.fsync(fd)  # whatever was committed before is here after it
    total = int(os.read(fd, 100).split()[0])
    os.pwrite(fd, b"%d\\n" % (total + 1), 0)
    os.close(fd)
    os.unlink(lock)
"""


def test_mail_style_locking(shared, place):
    """O_EXCL is a lock across mounts: nothing counted under it is lost."""
    script(place, "echo 0 > box")
    count = 15
    folders = [place, on(shared, 2, place), on(shared, 3, place)]
    couriers = [spawn(sys.executable, "-c", DELIVERY, os.path.join(each, "lock"), os.path.join(each, "box"), str(count))
                for each in folders]
    for each in couriers:
        assert ended(each, 60) == (0, "")
    assert script(place, "sync box; cat box") == f"{3 * count}\n"


# ---- sqlite ----

SQL = """PRAGMA journal_mode={mode}; CREATE TABLE t (n INTEGER PRIMARY KEY, v TEXT);
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 500)
    INSERT INTO t SELECT x, hex(randomblob(50)) FROM c;
BEGIN; UPDATE t SET v = 'x' WHERE n % 2; ROLLBACK;
UPDATE t SET v = 'y' WHERE n % 5 = 0; DELETE FROM t WHERE n > 400;
PRAGMA integrity_check; SELECT count(*), sum(v = 'y'), sum(v = 'x') FROM t;"""
COUNT = "PRAGMA integrity_check; SELECT count(*) FROM t;"


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "memory"])
def test_sqlite(shared, place, mode):
    """With a rollback journal a database is right: on this mount at once, on the others when it is opened there."""
    path = os.path.join(place, "db")
    assert run("sqlite3", path, SQL.format(mode=mode), deadline=DEADLINE).splitlines() == [mode, "ok", "400|80|0"]
    other = os.path.join(on(shared, 2, place), "db")
    assert run("sqlite3", other, COUNT + "INSERT INTO t VALUES (1000, 'z')") == "ok\n400\n"
    run("sync", path)
    assert run("sqlite3", path, COUNT) == "ok\n401\n"
    # Two processes on one mount take turns by its locks.
    both = [spawn("sqlite3", "-cmd", ".timeout 20000", path,
                  "".join(f"INSERT INTO t VALUES ({base + number}, 'b');" for number in range(10)))
            for base in (2000, 3000)]
    for each in both:
        assert ended(each, DEADLINE) == (0, "")
    assert run("sqlite3", path, COUNT) == "ok\n421\n"


def test_sqlite_wal(place):
    """WAL needs memory shared through a file, which a mount refuses: sqlite says so, and the database stays as it is."""
    path = os.path.join(place, "db")
    run("sqlite3", path, "CREATE TABLE t (n); INSERT INTO t VALUES (1)")
    done = run("sqlite3", path, "PRAGMA journal_mode=wal; INSERT INTO t VALUES (2)", check=False)
    assert done.returncode != 0 and "disk I/O error" in done.stderr, done
    done = run("sqlite3", path, "SELECT * FROM t", check=False)
    assert done.returncode != 0 and "disk I/O error" in done.stderr, done
    # Alone it needs no shared memory: that is the way out, and in.
    assert run("sqlite3", path, "PRAGMA locking_mode=exclusive; INSERT INTO t VALUES (2); PRAGMA journal_mode=delete; "
               "PRAGMA integrity_check") == "exclusive\ndelete\nok\n"
    assert run("sqlite3", path, COUNT) == "ok\n2\n"
    assert run("sqlite3", path, "PRAGMA locking_mode=exclusive; PRAGMA journal_mode=wal; INSERT INTO t VALUES (3); "
               "PRAGMA journal_mode=delete; " + COUNT) == "exclusive\nwal\ndelete\nok\n3\n"
