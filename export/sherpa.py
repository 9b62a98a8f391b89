"""The model in the clothes of sherpa-onnx's streaming Zipformer CTC models.

sherpa-onnx, and with it its C, C++, Java, Kotlin, Swift, C#, Go, Dart, JavaScript and WebAssembly
interfaces, runs any streaming CTC model that has the inputs, outputs and metadata of an icefall
Zipformer; it takes them by their place. They hold the states of this model, or pass through. The
features come from sherpa-onnx, which computes the same ones (kaldi-native-fbank).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from asr.decoding.ctc import write_expanded
from asr.decoding.fst import ARC, HEADER, STATE, read_header
from asr.decoding.phone_graph import PhoneGraph, break_off
from asr.decoding.search import SearchOptions
from asr.errors import ExportError
from asr.nn.encoder import SUBSAMPLING
from asr.nn.frontend import HOP, RATE, TAIL
from asr.nn.model import END
from asr.session import open_session

from .folder import token_lines
from .twin import CHUNK, build_twin
from .verify import STREAMS, compare, sound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnxruntime
    from numpy.typing import NDArray

    from asr.decoding.grammar import Grammar
    from asr.decoding.rules import Tag
    from asr.nn.model import CtcModel

    Floats = NDArray[np.float32]

FILES = {"fp32": "model.onnx", "int8": "model.int8.onnx"}
GRAPH, WORDS, TOKENS, CARD = "ctc_graph.fst", "words.txt", "tokens.txt", "README.md"


def padding(model: CtcModel) -> float:
    """Seconds of silence to push behind a stream, so that its last word comes out.

    The rest of an output frame, the look-ahead and the end that training had; and a chunk, as
    sherpa-onnx decodes one only when there is more than that.
    """
    frames = SUBSAMPLING - 1 + (model.encoder.config.lookahead + END) * SUBSAMPLING + CHUNK
    return frames * HOP / RATE


def _verify(content: bytes, model: CtcModel, head: str, precision: str) -> float:
    """Compare a twin with torch: for Kaldi's features the twin has to give Rill's answer."""

    def pairs() -> Iterator[tuple[Floats, Floats]]:
        session = open_session(content)
        for streams in STREAMS:
            audio = sound(streams)
            audio[:, :TAIL] = 0  # where Kaldi and Rill differ
            with torch.inference_mode():
                outputs, _ = model.step(torch.from_numpy(audio), model.start(streams))
                features, _ = model.frontend.step(
                    torch.from_numpy(audio), model.frontend.start(streams)
                )
            begin = model.encoder.config.lookahead
            got = np.concatenate(list(_run(session, features[:, 1:].numpy())), axis=1)
            yield got[:, begin:], outputs[head][:, begin : got.shape[1]].numpy()

    return compare(pairs(), precision)


def _run(session: onnxruntime.InferenceSession, features: Floats) -> Iterator[Floats]:
    """Log-probabilities of each whole chunk of features [N, F, MELS]."""
    nodes = session.get_inputs()
    states = [
        np.zeros(
            [len(features) if n == "streams" else n for n in node.shape],
            np.int64 if "int64" in node.type else np.float32,
        )
        for node in nodes[1:]
    ]
    for begin in range(0, features.shape[1] - CHUNK + 1, CHUNK):
        inputs = [features[:, begin : begin + CHUNK], *states]
        log_probs, *states = session.run(
            None, {node.name: value for node, value in zip(nodes, inputs, strict=True)}
        )
        yield log_probs


def write_graph(graph: PhoneGraph, options: SearchOptions, path: Path) -> None:
    """Write a search graph with the CTC topology in front of it, in OpenFst's const format.

    sherpa-onnx adds the costs of a graph to those of the tokens as they are. So the graph gets what
    the search's options would do to the tokens: their scale, and the priors that are taken off.
    Dictation may be broken off anywhere, a sentence of a grammar may not.
    """
    if graph.root is None:
        options = options.in_grammar
    with path.open("w+b") as file:
        write_expanded(graph.fst, file, break_off=break_off(graph.root))
        file.seek(0)
        _, states, arcs = read_header(file.read(HEADER.size), str(path))
    tables = HEADER.size
    finals = np.memmap(path, STATE, "r+", tables, (states,))
    finals["final"] /= options.acoustic_scale
    costs = np.memmap(path, ARC, "r+", tables + finals.nbytes, (arcs,))
    offsets = np.concatenate([[0], options.offsets]).astype(np.float32)
    costs["weight"] = costs["weight"] / options.acoustic_scale + offsets[costs["ilabel"]]
    costs.flush()


def word_names(graph: PhoneGraph, tags: Sequence[Tag | str] = ()) -> tuple[str, ...]:
    """What the labels of a graph stand for, from 0 on: words, `{tags}` and `<rules>`.

    In a table of symbols no name has a blank: in tags they become underscores.
    """
    words = (graph.vocabulary[label][0] for label in range(1, len(graph.vocabulary) + 1))
    texts = (f"<{tag}>" if isinstance(tag, str) else f"{{{tag.text}}}" for tag in tags)
    return ("<eps>", *words, *("_".join(text.split()) for text in texts))


def export(
    model: CtcModel,
    tokens: tuple[str, ...],
    target: Path,
    *,
    head: str = "phones",
    graph: Path | Grammar | None = None,
    search: dict[str, Any] | None = None,
    int8: bool = True,
    **metadata: str,
) -> float:
    """Write a folder for sherpa-onnx; it must not be there yet.

    Args:
        model: the trained model.
        tokens: name of each token of the head.
        target: the folder.
        head: the CTC head to export.
        graph: search graph as `asr graph` wrote it, or a grammar; None for greedy decoding alone.
        search: settings of the search in it, as in `asr.bundle.Settings`.
        int8: write the model in 8-bit integers as well.
        **metadata: properties of the files.

    Returns:
        the largest difference of a log-probability from torch's, in nats.

    Raises:
        ExportError: when a twin differs from torch, or `target` is there.
    """
    if target.exists():
        raise ExportError(f"{target} is there; name a folder that is not")
    contents = {}
    for precision in FILES if int8 else ("fp32",):
        content = build_twin(model, head, metadata, precision).SerializeToString()
        contents[precision] = content, _verify(content, model, head, precision)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
        folder = Path(temporary) / target.name
        folder.mkdir()
        for precision, (content, _) in contents.items():
            (folder / FILES[precision]).write_bytes(content)
        (folder / TOKENS).write_text(token_lines(tokens), encoding="utf-8")
        if graph:
            phones = PhoneGraph.load(graph) if isinstance(graph, Path) else graph.graph
            names = word_names(phones, () if isinstance(graph, Path) else graph.tags)
            write_graph(phones, SearchOptions(**(search or {})), folder / GRAPH)
            (folder / WORDS).write_text(token_lines(names), encoding="utf-8")
        (folder / CARD).write_text(_card(model, bool(graph), int8), encoding="utf-8")
        folder.rename(target)
    return contents["fp32"][1]


def _card(model: CtcModel, graph: bool, int8: bool) -> str:
    """How to use the folder."""
    name = FILES["int8" if int8 else "fp32"]
    ahead = model.encoder.config.lookahead * SUBSAMPLING * HOP / RATE
    options = f',\n    ctc_graph="{GRAPH}"' if graph else ""
    words = (
        f"\n`recognizer.get_result_all(stream).words` are the ids in `{WORDS}` of the words, and "
        "of a grammar's `{tags}` and `<rules>`; the text is the tokens along the best path."
        if graph
        else ""
    )
    return f"""# For sherpa-onnx

```python
recognizer = sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(
    tokens="{TOKENS}", model="{name}", num_threads=1{options}
)
```
{words}
Behind the last sample push **{padding(model):.2f} s of zeros**, then call `input_finished()`:
sherpa-onnx never decodes a chunk of {CHUNK} frames that is not full, and the model hears
{ahead:.2f} s ahead, by which the timestamps are late.
"""
