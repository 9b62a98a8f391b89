"""The part of the search that is compiled where there is a compiler; all else: pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "asr.decoding._passing",
            [f"asr/decoding/_{part}.c" for part in ("passing", "trellis", "distances")],
            depends=["asr/decoding/_passing.h"],
            extra_compile_args=["-std=c11", "-O3", "-fno-math-errno", "-ffp-contract=off"],
            optional=True,  # without a compiler numpy does the work
        )
    ]
)
