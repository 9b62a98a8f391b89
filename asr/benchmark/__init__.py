"""How fast a model is and what it takes, beside other recognisers: `asr bench`."""
