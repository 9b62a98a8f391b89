"""The part of the search that is compiled where there is a compiler; all else: pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "asr.decoding._passing",
            ["asr/decoding/_passing.c", "asr/decoding/_trellis.c"],
            depends=["asr/decoding/_passing.h"],
            extra_compile_args=["-std=c11", "-O3", "-fno-math-errno", "-ffp-contract=off"],
            optional=True,  # without a compiler numpy does the work
        )
    ]
)
