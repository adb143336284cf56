"""Run the notebooks in empty folders and keep what they show: ``python docs/notebooks/execute.py [NAME ...]``."""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Return a notebook as it looks after a run in a folder, without what differs from run to run."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":
            # progress bars and the noise of libraries
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
            for output in cell.outputs:
                if "text" in output:
                    output.text = output.text.replace(f"{folder}/", "")
    return notebook


if __name__ == "__main__":
    for notebook in sorted(HERE.glob("*.ipynb")):
        if len(sys.argv) == 1 or notebook.stem in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as folder:
                nbformat.write(execute(notebook, Path(folder)), notebook)
