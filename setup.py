"""What is compiled where there is a compiler, for speed alone; all else: pyproject.toml."""

from setuptools import Extension, setup

FLAGS = ["-std=c11", "-O3", "-fno-math-errno"]

setup(
    ext_modules=[
        Extension(
            "asr.decoding._passing",
            [f"asr/decoding/_{part}.c" for part in ("passing", "trellis", "distances")],
            depends=["asr/decoding/_passing.h"],
            extra_compile_args=[*FLAGS, "-ffp-contract=off"],
            optional=True,  # without a compiler numpy does the work
        ),
        Extension(
            "asr.operators._library",
            [f"asr/operators/_{part}.c" for part in ("library", "kernels")],
            depends=[f"asr/operators/_{part}.h" for part in ("kernels", "onnxruntime")],
            extra_compile_args=[*FLAGS, "-fno-trapping-math"],
            optional=True,  # without a compiler onnxruntime's own operators do the work
        ),
    ]
)
