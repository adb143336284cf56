"""Who reads what: balanced, blinded, repeatable by its seed; a key that cannot be changed or lost."""

import itertools
import json
import math
from collections import Counter
from dataclasses import asdict, replace

import pytest

from lightning_mri.evaluation.reader_study import Design, Key, Reading

PATIENTS = {f"patient {index}": f"patient {index}" for index in range(11)}
WRONG = ({"reader": "1"}, {"reader": 0}, {"code": 7}, {"scan": "unknown"}, {"left": "fast"}, {"repeat": "no"})


def test_each_reader_sees_each_pair_once_and_the_repeats_twice_with_sides_exchanged():
    key = Design("standard", "fast", n_readers=3, n_repeats=4, seed=1).draw(PATIENTS)
    assert len({reading.code for reading in key.readings}) == len(key.readings) == 3 * 15
    for reader in (1, 2, 3):
        own = key.of_reader(reader)
        first, repeats = own[:11], own[11:]
        assert sorted(reading.scan for reading in first) == sorted(PATIENTS)
        seen = {reading.scan: reading for reading in first}
        assert all(again.left == seen[again.scan].right and again.repeat for again in repeats)
        assert len({again.scan for again in repeats}) == 4
        # nobody sees a pair again before half of the others have passed
        assert all(own.index(again) - own.index(seen[again.scan]) > 5 for again in repeats)


def test_sides_are_balanced_and_orders_differ():
    key = Design("standard", "fast", n_readers=4, seed=0).draw(PATIENTS)
    left = [Counter(reading.left for reading in key.of_reader(reader)) for reader in (1, 2, 3, 4)]
    assert [sorted(counts.values()) for counts in left] == [[5, 6]] * 4
    assert sum(counts["fast"] for counts in left) == 22  # an odd number evens out over readers
    orders = [tuple(reading.scan for reading in key.of_reader(reader)) for reader in (1, 2, 3, 4)]
    assert len(set(orders)) == 4


def test_the_left_side_does_not_follow_from_the_order():
    # over many drawings, each place of the order has the test method on the left half of the time
    keys = [Design("standard", "fast", n_readers=1, seed=seed).draw(PATIENTS) for seed in range(400)]
    for place in range(len(PATIENTS)):
        share = sum(key.readings[place].left == "fast" for key in keys) / len(keys)
        assert abs(share - 0.5) < 0.1  # four standard errors


def test_a_key_is_read_back_and_tells_by_its_sum_when_it_was_changed(tmp_path):
    key = Design("standard", "fast", n_repeats=2, seed=5).draw(PATIENTS)
    key.save(tmp_path / "key.json")
    assert Key.load(tmp_path / "key.json") == key
    assert len(key.sha256) == 64
    changed = [replace(key, margin=0.6), replace(key, readings=key.readings[::-1]), replace(key, salt="0" * 32)]
    assert all(a.sha256 != b.sha256 for a, b in itertools.combinations([key, *changed], 2))
    with pytest.raises(FileExistsError, match=r"key\.json"):
        key.save(tmp_path / "key.json")


def test_a_key_from_before_images_were_scaled_keeps_its_sum(tmp_path):
    key = Design("standard", "fast", seed=5).draw(PATIENTS)
    assert "scales" not in json.loads(key.text)
    scaled = replace(key, scales={"patient 0": 2.0, "patient 1": 1.1})
    scaled.save(tmp_path / "key.json")
    assert Key.load(tmp_path / "key.json") == scaled
    assert (key.scaling, replace(scaled, scales={"patient 1": 1.1}).scaling) == (None, None)
    assert "patient 0 by 2" in scaled.scaling
    assert "patient 1" not in scaled.scaling


def test_a_study_is_drawn_anew_unless_seeded():
    draw = Design("standard", "fast").draw
    assert draw(PATIENTS).readings != draw(PATIENTS).readings
    seeded = Design("standard", "fast", seed=3).draw
    assert seeded(PATIENTS) == seeded(PATIENTS)


@pytest.mark.parametrize("content", ["", "[]", "{}", '"x"', "5", "null", '{"readings": [1]}', '{"readings": 5}'])
def test_another_file_is_no_key(tmp_path, content):
    (tmp_path / "k.json").write_text(content)
    with pytest.raises(ValueError, match=r"k\.json"):
        Key.load(tmp_path / "k.json")


@pytest.mark.parametrize(
    ("field", "value"),
    [("margin", "0.5"), ("readings", []), ("patients", {}), ("patients", 1), ("items", [1]), ("primary", ["beauty"])]
    + [("scales", wrong) for wrong in (1, {"patient 0": 0}, {"patient 0": "1"}, {"patient 0": math.inf})]
    + [("readings", [{**asdict(Reading(1, "1", "patient 0", "standard", "fast")), **wrong}]) for wrong in WRONG],
)
def test_a_key_of_which_a_field_is_wrong_is_refused(tmp_path, field, value):
    values = json.loads(Design("standard", "fast", n_readers=1).draw({"patient 0": "A"}).text)
    (tmp_path / "k.json").write_text(json.dumps({**values, field: value}))
    with pytest.raises(ValueError, match=r"k\.json: key must"):
        Key.load(tmp_path / "k.json")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"test": "standard"}, "standard"),
        ({"margin": 0.0}, "margin"),
        ({"margin": float("nan")}, "margin"),
        ({"n_readers": 0}, "n_readers"),
        ({"n_repeats": -1}, "n_repeats"),
        ({"primary": ["beauty"]}, "beauty"),
        ({"n_repeats": 12}, "12"),
    ],
)
def test_what_cannot_be_is_refused(options, named):
    with pytest.raises(ValueError, match=named):
        Design(**{"reference": "standard", "test": "fast", **options}).draw(PATIENTS)
