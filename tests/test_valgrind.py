"""A daemon that was used and stopped leaves nothing: valgrind sees no error, and nothing that is lost, at its end."""

import os
import shutil

import pytest
from lib.ensemble import BINARY, shell

pytestmark = pytest.mark.root

FOUND_EXIT = 98
VALGRIND = ["valgrind", "--quiet", "--leak-check=full", "--show-leak-kinds=definite,indirect,possible",
            "--errors-for-leak-kinds=definite,indirect,possible", f"--error-exitcode={FOUND_EXIT}"]


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="no valgrind")
@pytest.mark.skipif(os.path.basename(os.path.dirname(BINARY)) != "build", reason="a sanitizer looks at this build")
def test_nothing_is_left(make_ensemble):
    ensemble = make_ensemble(1, start=False)
    peer = ensemble[1]
    command = peer.command
    peer.command = lambda *options: VALGRIND + command(*options)
    peer.start()
    ensemble.wait_quorum()
    shell(f"cd {peer.mount} && mkdir d && echo one > d/a && echo two >> d/a && cat d/a && mv d/a d/b && ln -s b d/l && "
          "setfattr -n user.k -v v d/b && getfattr -d d/b && ls -lR && truncate -s 100000 d/b && sync d/b && rm d/b && "
          "cat .znodefs/status .znodefs/peers .znodefs/metrics && stat -f . && rm -r d", deadline=120)
    peer.stop()
    assert "==" not in peer.log_text(), peer.log_text()
    # And once more, over what it has left on the disk.
    peer.start()
    ensemble.wait_quorum()
    shell(f"exec 3> {peer.mount}/open; echo half >&3; cat {peer.mount}/open")
    peer.stop()
