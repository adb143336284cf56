import torch

from lightning_mri.phantoms.mouse_atlas import FOREBRAIN, HINDBRAIN, VENTRICLES, VESSELS, Levels


def test_levels_pass_through_their_rows_and_stay_constant_beyond():
    levels = Levels(((-1.0, 2.0, 5.0), (0.0, 3.0, 5.0), (2.0, 1.0, 5.0)))
    z = torch.tensor([[-8.0, -1.0, 0.0, 2.0, 7.0]])
    expected = torch.tensor([[2.0, 2.0, 3.0, 1.0, 1.0]])
    torch.testing.assert_close(levels.at(z)[0], expected, rtol=1e-3, atol=1e-3)
    assert levels.reaches(torch.tensor([[0.5]]))
    assert not levels.reaches(torch.tensor([[2.5]]))


def test_bodies_vanish_at_both_ends():
    for body in (*FOREBRAIN, *HINDBRAIN, *VENTRICLES, *VESSELS):
        first, last = body.levels.rows[0], body.levels.rows[-1]
        assert first[3] == last[3] == 0, body.name
        assert [row[0] for row in body.levels.rows] == sorted(row[0] for row in body.levels.rows)
