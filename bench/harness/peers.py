"""The benchmarks' own virtual environment: peers and fast clients, with the project's packages visible beside them."""

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
