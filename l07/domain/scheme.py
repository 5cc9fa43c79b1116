"""How a sketch is made, as numbers that are stored with every version; a change makes all stored sketches
incomparable."""

PERMUTATIONS, BANDS, ROWS = 128, 32, 4
SHINGLE = 5  # words
SEED = 1
SCHEME = {
    "scheme": "minhash-multiply-shift-64",
    "seed": SEED,
    "version": 1,
    "permutations": PERMUTATIONS,
    "bands": BANDS,
    "shingle_words": SHINGLE,
}
