"""What sherpa-onnx hears, as a program, so that any version of it can run.

    python hear.py FOLDER MODEL GRAPH CLIPS.npz together|alone endpoints|whole

GRAPH may be empty. Prints JSON: for each clip its segments, each with its tokens and words; one
segment if endpoints are not asked for.
"""

import json
import sys

import numpy as np
import sherpa_onnx

folder, model, graph, clips, together, endpoints = sys.argv[1:]
recognizer = sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(
    tokens=f"{folder}/tokens.txt",
    model=f"{folder}/{model}",
    num_threads=1,
    ctc_graph=graph and f"{folder}/{graph}",
    enable_endpoint_detection=endpoints == "endpoints",
    rule2_min_trailing_silence=0.5,
)


def result(stream: sherpa_onnx.OnlineStream) -> dict:
    heard = recognizer.get_result_all(stream)
    return {"tokens": heard.tokens, "words": list(heard.words)}


streams = []
for samples in np.load(clips).values():
    stream = recognizer.create_stream()
    stream.accept_waveform(16_000, samples)
    stream.input_finished()
    streams.append(stream)
heard = [[] for _ in streams]
groups = [streams] if together == "together" else [[stream] for stream in streams]
for group in groups:
    while ready := [stream for stream in group if recognizer.is_ready(stream)]:
        recognizer.decode_streams(ready)
        for stream in ready:
            if recognizer.is_endpoint(stream):
                heard[streams.index(stream)].append(result(stream))
                recognizer.reset(stream)
for stream, segments in zip(streams, heard, strict=True):
    segments.append(result(stream))
print(json.dumps(heard))
