"""Estimators of sequences: what they learn, what they say to anything else, their files."""

from __future__ import annotations

import copy
import itertools
import pickle
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.base import clone

import chainrule as cr
from chainrule.errors import ConfigError, DataError, ModelFileError
from chainrule.executors import EXECUTORS
from chainrule.modelfile import load_network
from chainrule.storage import read_tensors, write_tensors
from chainrule.tasks.decoding import Decoder
from chainrule.tasks.sequences import SequenceClassifier, SequenceToSequence
from chainrule.tasks.vocabulary import Vocabulary, pad, padded_length

SMALL = {
    "width": 16, "layers": 1, "heads": 2, "batch_size": 30, "random_state": 0, "learning_rate_init": 0.01,
    "executor": "reference",
}  # fmt: skip


def words(n: int, letters: str = "abc", longest: int = 5, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(letters), rng.integers(1, longest + 1))) for _ in range(n)]


X = words(300)
UNSEEN = [w for w in words(200, seed=1) if w not in set(X)] or words(50, seed=2)


@pytest.fixture(scope="module")
def speller() -> SequenceToSequence:
    """Spells letter by letter, in capitals."""
    return SequenceToSequence(**SMALL, max_iter=20).fit(X, [w.upper() for w in X])


@pytest.fixture(scope="module")
def tagger() -> SequenceClassifier:
    """Says of each letter whether it is the first of its kind."""
    y = [[w.index(c) == i for i, c in enumerate(w)] for w in X]
    return SequenceClassifier(**SMALL, each=True, max_iter=40).fit(X, y)


@pytest.fixture(scope="module")
def vectors() -> tuple[list[np.ndarray], list[str]]:
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(rng.integers(1, 7), 2)) * [1, 100] + [0, 50] for _ in range(200)]
    return rows, ["up" if row[:, 0].mean() > 0 else "down" for row in rows]


@pytest.fixture(scope="module")
def judge(vectors) -> SequenceClassifier:
    return SequenceClassifier(**SMALL, max_iter=20).fit(*vectors)


# ------------------------------------------------------------------ what is learned


def test_a_sequence_is_answered_by_a_sequence(speller):
    assert speller.score(X, [w.upper() for w in X]) >= 0.95
    assert speller.predict(["cab"]) == ["CAB"]
    assert speller.source_.tokens.tolist() == ["a", "b", "c"]
    assert speller.target_.tokens.tolist() == ["A", "B", "C"]
    assert len(speller.loss_curve_) == speller.n_iter_ == 20


def test_each_token_gets_a_class(tagger):
    y = [[w.index(c) == i for i, c in enumerate(w)] for w in X]
    assert tagger.score(X, y) >= 0.95
    found = tagger.predict(["aab", "c"])
    assert found == [[True, False, True], [True]]
    assert [p.shape for p in tagger.predict_proba(["aab", "c"])] == [(3, 2), (1, 2)]


def test_vectors_of_unequal_lengths_are_told_apart(judge, vectors):
    rows, y = vectors
    assert judge.score(rows, y) >= 0.95
    assert judge.classes_.tolist() == ["down", "up"]
    p = judge.predict_proba(rows)
    assert p.shape == (200, 2)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert (judge.classes_[p.argmax(axis=1)] == judge.predict(rows)).all()


@pytest.mark.parametrize("model", ["speller", "tagger", "judge"])
def test_a_sequence_is_treated_alone(model, vectors, request):
    """Whatever stands beside it, and in whatever order."""
    given, model = (vectors[0] if model == "judge" else X)[:70], request.getfixturevalue(model)
    together = list(model.predict(given))
    assert together == [model.predict([row])[0] for row in given]
    assert together[::-1] == list(model.predict(given[::-1]))


def test_the_same_seed_gives_the_same_model_and_another_another():
    y = [w.upper() for w in X[:60]]
    one, two, other = (
        SequenceToSequence(**{**SMALL, "random_state": seed}, max_iter=2).fit(X[:60], y) for seed in (0, 0, 1)
    )
    assert one.loss_curve_ == two.loss_curve_ != other.loss_curve_


@pytest.mark.parametrize("encoder", ["lstm", "gru"])
def test_recurrent_layers_read_too(encoder, tmp_path):
    y = ["x" if w.startswith("a") else "y" for w in X]
    model = SequenceClassifier(**SMALL, encoder=encoder, max_iter=10).fit(X, y)
    assert model.score(X, y) >= 0.95
    assert list(model.predict(X[:30])) == [model.predict([w])[0] for w in X[:30]]
    model.save(tmp_path / "model.safetensors")
    assert list(cr.load(tmp_path / "model.safetensors").predict(X[:9])) == list(model.predict(X[:9]))
    answers = SequenceToSequence(**SMALL, encoder=encoder, max_iter=1).fit(X[:60], X[:60]).predict(["ab"])
    assert len(answers) == 1


def test_tokens_and_words_are_sequences_too():
    lists = [list(w) for w in X[:60]]
    model = SequenceToSequence(**SMALL, max_iter=1).fit(lists, [[t, "!"] for t in X[:60]])
    assert all(isinstance(a, list) for a in model.predict(lists[:3]))
    text = [" ".join(w) for w in X[:60]]
    model = SequenceToSequence(**SMALL, split="words", max_iter=1).fit(text, text)
    assert model.source_.tokens.tolist() == ["a", "b", "c"]
    assert all(isinstance(a, str) for a in model.predict(text[:3]))
    model = SequenceToSequence(**SMALL, split=("words", "characters"), max_iter=1).fit(text, text)
    assert model.source_.tokens.tolist() == ["a", "b", "c"]
    assert model.target_.tokens.tolist() == [" ", "a", "b", "c"]


def test_early_stopping_judges_by_what_is_held_out():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)  # nothing can be learned of it
    model = SequenceClassifier(**SMALL, max_iter=60, early_stopping=True, n_iter_no_change=2).fit(X[:60], y)
    assert model.n_iter_ < 60
    assert len(model.validation_loss_curve_) == model.n_iter_
    given = SequenceClassifier(**SMALL, max_iter=60, n_iter_no_change=2)
    given.fit(X[:60], y, validation_data=(X[60:90], rng.integers(0, 2, 30)))
    assert given.validation_loss_curve_ is not None


def test_sequences_of_weight_0_are_not_learned_from():
    y = ["x" if "a" in w else "y" for w in X[:60]]
    wrong = [*y, *["x"] * 60]
    weight = np.repeat([1.0, 0.0], 60)
    model = SequenceClassifier(**SMALL, max_iter=20).fit([*X[:60], *X[:60]], wrong, weight)
    assert model.score(X[:60], y) >= 0.9


def test_rare_tokens_are_unknown():
    found = Vocabulary.seen(["ab", "a", "cb"], "characters", "X", least=2)
    assert found.tokens.tolist() == ["a", "b"]
    assert found.encode(["cab"], "X")[0].tolist() == [0, 2, 3, 1]


# ------------------------------------------------------------------ answers


def scores(net, source, answer, longest):
    """log p of an answer and its end, from one run of the whole network."""
    target = np.full((1, longest), 1)
    target[0, 1 : len(answer) + 1] = answer[: longest - 1]
    z = net.output({"source": source, "target": target})[0].astype(float)
    logs = z - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True)) - z.max(1, keepdims=True)
    return sum(logs[t, token] for t, token in enumerate([*answer, 1][:longest]))


def test_a_beam_finds_the_likeliest_of_all_answers():
    """An untrained network, all answers of up to three tokens counted out."""
    stack = cr.nn.SequenceStack(cr.nn.Embedding(4, 8, cr.nn.Normal(std=1.0)), (cr.nn.TransformerBlock(2),))
    later = cr.nn.SequenceStack(
        cr.nn.Embedding(4, 8, cr.nn.Normal(std=1.0)), (cr.nn.TransformerBlock(2, causal=True),)
    )
    net = cr.Network(cr.nn.EncoderDecoder(stack, later, cr.nn.Dense(4, cr.nn.Normal(std=1.0))), seed=3)
    source = np.random.default_rng(0).integers(0, 4, (5, 3))
    net.build(source=cr.spec.Spec((3,), np.dtype("int64")), target=cr.spec.Spec((3,), np.dtype("int64")))
    every = [a for n in range(4) for a in itertools.product([0, 2, 3], repeat=n)]
    greedy, low = Decoder(net, begin=1, end=1, longest=3)(source)
    found, best = Decoder(net, begin=1, end=1, longest=3, beam=40)(source)
    for row in range(5):
        known = {a: scores(net, source[row : row + 1], a, 3) for a in every}
        wanted = max(known, key=known.get)
        assert tuple(found[row]) == wanted
        assert best[row] == pytest.approx(known[wanted], abs=1e-4)
        assert low[row] == pytest.approx(known[tuple(greedy[row])], abs=1e-4)
        assert low[row] <= best[row] + 1e-6


def test_answers_are_cut_off_where_training_never_went(speller):
    longest = padded_length(6)
    assert max(map(len, speller.predict(["abcabcabcabcabc"]))) <= longest


def test_likelihoods_are_logarithms_of_probabilities(speller):
    answers, logs = speller.predict_log_likelihood(["ab", "ccc"])
    assert answers == speller.predict(["ab", "ccc"])
    assert (logs <= 1e-6).all()
    assert (logs > -1).all()  # it is sure of them


def test_every_executor_answers_alike(speller):
    x = {"source": cr.data.Sequence(*_padded(speller, X[:70]))}
    found = [
        Decoder(speller.network_, begin=1, end=1, longest=8, beam=2, executor=executor)(x)
        for executor in EXECUTORS
    ]
    for answers, likelihoods in found[1:]:
        assert [a.tolist() for a in answers] == [a.tolist() for a in found[0][0]]
        np.testing.assert_allclose(likelihoods, found[0][1], atol=1e-4)


def _padded(model, rows):
    encoded = model.source_.encode(rows, "X")
    return pad(encoded, 6), [len(row) for row in encoded]


def test_decoder_refuses_other_networks():
    net = cr.Network(cr.nn.Dense(2)).build(3)
    with pytest.raises(ConfigError, match="EncoderDecoder"):
        Decoder(net, begin=1, end=1, longest=3)(np.zeros((2, 3), int))
    with pytest.raises(ConfigError, match="longest"):
        Decoder(net, begin=1, end=1, longest=0)


# ------------------------------------------------------------------ whatever else is given


def test_empty_strings_and_unknown_characters_are_defined(speller, tagger):
    assert isinstance(speller.predict([""])[0], str)
    assert isinstance(speller.predict(["?"])[0], str)
    assert tagger.predict(["", "a?"])[0] == []
    model = SequenceToSequence(**SMALL, max_iter=1).fit(["", "a"], ["", "b"])
    assert len(model.predict([""])) == 1


BAD = [
    (DataError, "one string", "abc", ["a", "b", "c"]),
    (DataError, "is empty", [], []),
    (DataError, r"X\[1\] is None", ["a", None], ["b", "c"]),
    (DataError, r"X\[1\] is 3", ["a", 3], ["b", "c"]),
    (DataError, r"y\[1\] is None", ["a", "b"], ["b", None]),
    (DataError, "2 sequences, y 1", ["a", "b"], ["c"]),
    (DataError, "give a list", 7, ["a"]),
    (DataError, r"X\[0\] is \['a', 1\]", [["a", 1]], ["b"]),
    (DataError, "holds numbers", ["a", "b"], [[1.0], [2.0]]),
]


@pytest.mark.parametrize(("error", "message", "X", "y"), BAD)
def test_what_is_no_sequence_is_refused(error, message, X, y):
    with pytest.raises(error, match=message):
        SequenceToSequence(**SMALL).fit(X, y)


@pytest.mark.parametrize(
    ("message", "X", "y", "each"),
    [
        ("lists", ["a", "b"], [["x"], ["y"]], False),
        ("several kinds", ["a", "b"], ["x", None], False),
        (r"y\[1\] has 1 classes for the 2 tokens", ["a", "bc"], [["x"], ["y"]], True),
        ("list of classes", ["a", "b"], ["x", "y"], True),
        ("NaN", [[[1.0]], [[np.nan]]], [0, 1], False),
        ("features", [[[1.0]], [[1.0, 2.0]]], [0, 1], False),
        (r"shape \(0, 1\)", [[1.0], []], [0, 1], False),
    ],
)
def test_what_is_no_class_or_vector_is_refused(message, X, y, each):
    with pytest.raises(DataError, match=message):
        SequenceClassifier(**SMALL, each=each).fit(X, y)


def test_predicting_refuses_the_same(speller, judge):
    with pytest.raises(DataError, match=r"X\[0\] is None"):
        speller.predict([None])
    with pytest.raises(DataError, match="3 features, it was fitted with 2"):
        judge.predict([np.zeros((4, 3))])


def test_validation_on_longer_sequences_is_refused():
    model = SequenceToSequence(**SMALL)
    with pytest.raises(DataError, match="15 tokens"):
        model.fit(["a", "b"], ["a", "b"], validation_data=(["a"], ["b" * 15]))
    with pytest.raises(DataError, match="sequence of 16"):
        model.fit(["a", "b"], ["a", "b"], validation_data=(["a" * 15], ["b"]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 0), ("heads", 3), ("dropout", 1.0), ("split", "letters"), ("encoder", "lsmt"), ("beam", 0),
        ("max_iter", 1.5), ("optimizer", "adam"), ("learning_rate_init", 0.0), ("validation_fraction", 1.0),
    ],
)  # fmt: skip
def test_parameters_that_mean_nothing_are_refused(name, value):
    model = SequenceToSequence(**{**SMALL, name: value})
    with pytest.raises(ConfigError, match=name):
        model.fit(X, X)


# ------------------------------------------------------------------ scikit-learn's conventions, copies, files


@pytest.mark.parametrize("model", ["speller", "tagger", "judge"])
def test_copies_and_clones(model, vectors, request):
    given, model = (vectors[0] if model == "judge" else X)[:9], request.getfixturevalue(model)
    wanted = list(model.predict(given))
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert list(again.predict(given)) == wanted
    fresh = clone(model)
    assert fresh.get_params() == model.get_params()
    with pytest.raises(Exception, match="not fitted"):
        fresh.predict(given)


@pytest.mark.parametrize("model", ["speller", "tagger", "judge"])
def test_a_file_predicts_the_same(model, vectors, request, tmp_path):
    given, model = (vectors[0] if model == "judge" else X)[:40], request.getfixturevalue(model)
    model.save(tmp_path / "model.safetensors")
    again = cr.load(tmp_path / "model.safetensors")
    assert list(again.predict(given)) == list(model.predict(given))
    assert type(model).__name__ in repr(again)
    assert "encoder" in again.summary()
    with pytest.raises(ModelFileError, match="not a network"):
        load_network(tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match="cannot be exported"):
        again.export(tmp_path / "model.onnx")


def test_a_file_needs_no_scikit_learn(speller, tmp_path):
    speller.save(tmp_path / "model.safetensors")
    code = (
        "import sys; sys.modules['sklearn'] = None; import chainrule as cr;"
        f"print(cr.load({str(tmp_path / 'model.safetensors')!r}).predict(['abc']))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    assert told.stdout.strip() == "['ABC']"


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.update(version=2),
        lambda h: h.update(longest="6"),
        lambda h: h.update(beam=0),
        lambda h: h["source"].update(split="letters"),
        lambda h: h["target"]["values" if "values" in h["target"] else "tokens"]["values"].append("D"),
        lambda h: h["source"].update(type="Affine"),
        lambda h: h.update(target=h["source"]["tokens"]),
        lambda h: h.pop("left_out"),
        lambda h: h["network"].update(inputs={"x": {"shape": [4], "dtype": "int64"}}),
    ],
)
def test_altered_files_are_refused(speller, tmp_path, change):
    speller.save(tmp_path / "a.safetensors")
    header, arrays = read_tensors(tmp_path / "a.safetensors")
    for key in ("sha256", "header_sha256", "format"):
        header.pop(key, None)
    change(header)
    write_tensors(tmp_path / "b.safetensors", arrays, header)
    with pytest.raises(ModelFileError):
        cr.load(tmp_path / "b.safetensors")
