"""Caches of other libraries where a container runs as any user, without a home that can be written."""

import os
import tempfile
from pathlib import Path

FOLDERS = {
    "XDG_CACHE_HOME": "cache",  # numba, which sigpy cannot be imported without; fontconfig, W&B
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "MPLCONFIGDIR": "matplotlib",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
}


def use_writable_caches() -> None:
    """Send caches to a folder of this user's among the temporary files, if the home is not writable."""
    if _home_is_writable():
        return
    folder = Path(tempfile.gettempdir()) / f"lightning_mri-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():  # code is loaded from caches: trust no other's
        folder = Path(tempfile.mkdtemp(prefix="lightning_mri-"))
    for variable, name in FOLDERS.items():
        if variable not in os.environ:
            (folder / name).mkdir(exist_ok=True)
            os.environ[variable] = str(folder / name)


def _home_is_writable() -> bool:
    try:
        home = Path.home()
    except RuntimeError:  # no HOME, and a user without a name
        return False
    used = (path for path in (home / ".cache", home / ".config") if path.exists())
    return all(os.access(path, os.W_OK) for path in (home, *used))
