"""How often a model is wrong, how late it is, and how well it knows: `asr eval`.

Unlike the runtime this needs torch, for the forced alignment; `pip install "rill-asr[eval]"`.
"""
