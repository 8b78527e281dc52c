"""The benchmarks' own environments: Python, with the project's packages visible, and Node; peers and fast clients."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
REQUIREMENTS = FOLDER / "requirements.txt"
ENVIRONMENT = FOLDER / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
INSTALLED = ENVIRONMENT / ".installed"
NODE_LOCK = FOLDER / "package-lock.json"
NODE_INSTALLED = FOLDER / "node_modules" / ".installed"


def inside() -> bool:
    """Whether this process runs in it, and it is up to date."""
    return Path(sys.prefix) == ENVIRONMENT and fresh()


def fresh() -> bool:
    return INSTALLED.is_file() and INSTALLED.read_text() == REQUIREMENTS.read_text()


def install() -> Path:
    """Make the environment if it is missing or old; returns its Python. Run from the project's own environment."""
    if not fresh():
        print("Installing what the benchmarks compare with …", flush=True)
        venv.create(ENVIRONMENT, with_pip=True)
        pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
        show_project_packages()
        INSTALLED.write_text(REQUIREMENTS.read_text())
    return PYTHON


def show_project_packages() -> None:
    """A .pth file (see Python's `site` module) appends the project's packages after the environment's own."""
    packages = subprocess.check_output(
        [str(PYTHON), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    Path(packages.strip(), "project.pth").write_text(sysconfig.get_path("purelib") + "\n")


def install_node() -> None:
    """Have what package-lock.json names in bench/node_modules. RuntimeError where Node is not there."""
    if NODE_INSTALLED.is_file() and NODE_INSTALLED.read_text() == NODE_LOCK.read_text():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("Socket.IO, a peer of this benchmark, runs on Node. Install Node 20 or newer, with npm.")
    print("Installing what the benchmarks compare with on Node …", flush=True)
    subprocess.run([npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=FOLDER, check=True)
    NODE_INSTALLED.write_text(NODE_LOCK.read_text())
