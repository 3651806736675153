"""The API on a real port, and the Node packages of the JavaScript client."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.supervisor.environment import search_path

NODE_FOLDER = Path(__file__).parent / "node"


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """Folder of the JavaScript programs, its packages installed as the lock says."""
    npm = Path(sys.executable).with_name("npm")
    command = [str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    environment = {**os.environ, "PATH": search_path()}
    subprocess.run(command, cwd=NODE_FOLDER, check=True, env=environment)
    return NODE_FOLDER
