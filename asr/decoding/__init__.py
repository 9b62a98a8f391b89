"""From log-probabilities to words: lexicon, search graphs, and the search in them."""
