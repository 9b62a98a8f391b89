"""A small language whose words depend on what was said three words before, and a model of it."""

from pathlib import Path

from asr.export.language import export
from asr.nn.language import LanguageModel
from asr.training.language import LanguageTrainer
from asr.training.sentences import LanguageTraining

SENTENCES = ["stop a tea", "bus a tee", "stop a red tea", "bus a red tee", "a bus", "a teapot"]


def configuration(folder: Path, graph: Path, **changes) -> Path:
    """A training run on that language in a graph's words."""
    text = folder / "text.txt"
    text.write_text("\n".join(SENTENCES * 50))
    values = {
        "graph": graph,
        "texts": {str(text): 1.0},
        "dev": [str(text)],
        "words": 60_000,
        "batch_words": 200,
        "samples": 6,
        "learning_rate": 0.01,
        "warmup_steps": 10,
        "shape": {"size": 16, "hidden": 32},
        **changes,
    }
    path = folder / "language.yaml"
    path.write_text("\n".join(f"{name}: {value}" for name, value in values.items()))
    return path


def trained(folder: Path, graph: Path) -> LanguageModel:
    """The model of a finished run."""
    LanguageTrainer(LanguageTraining.load(configuration(folder, graph)), folder / "run").run()
    return LanguageModel.load(folder / "run" / "model.pt")[0]


def exported(folder: Path, graph: Path) -> Path:
    """The same, in ONNX."""
    path = folder / "language.onnx"
    export(trained(folder, graph), path)
    return path
