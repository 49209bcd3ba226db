"""What importing the package does, and does not do, to the process that imports it."""

import os
import subprocess
import sys

CODE = """
import os, sys
import vae_helpers
assert "torch" not in sys.modules, "OpenMP would have read its settings already"
print(os.environ["OMP_WAIT_POLICY"])
"""


def run(**variables):
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_waiting_threads_sleep_unless_the_user_wants_otherwise():
    assert run() == "PASSIVE"
    assert run(OMP_WAIT_POLICY="ACTIVE") == "ACTIVE"
