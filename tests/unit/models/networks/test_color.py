"""Color spaces against published values and against scikit-image."""

import numpy as np
import torch
from skimage.color import deltaE_ciede2000, rgb2lab

from retint_models.networks.color import (
    ab_to_chroma,
    chroma_to_offsets,
    ciede2000,
    join_luma_chroma,
    lab_to_rgb,
    rec709_chroma,
    rec709_luma,
    rgb_to_lab,
)

# Sharma, Wu, Dalal (2005), table 1: L a b of both colors, and their difference.
SHARMA = """
50.0000   2.6772 -79.7751  50.0000   0.0000 -82.7485   2.0425
50.0000   3.1571 -77.2803  50.0000   0.0000 -82.7485   2.8615
50.0000   2.8361 -74.0200  50.0000   0.0000 -82.7485   3.4412
50.0000  -1.3802 -84.2814  50.0000   0.0000 -82.7485   1.0000
50.0000  -1.1848 -84.8006  50.0000   0.0000 -82.7485   1.0000
50.0000  -0.9009 -85.5211  50.0000   0.0000 -82.7485   1.0000
50.0000   0.0000   0.0000  50.0000  -1.0000   2.0000   2.3669
50.0000  -1.0000   2.0000  50.0000   0.0000   0.0000   2.3669
50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0009   7.1792
50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0010   7.1792
50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0011   7.2195
50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0012   7.2195
50.0000  -0.0010   2.4900  50.0000   0.0009  -2.4900   4.8045
50.0000  -0.0010   2.4900  50.0000   0.0010  -2.4900   4.8045
50.0000  -0.0010   2.4900  50.0000   0.0011  -2.4900   4.7461
50.0000   2.5000   0.0000  50.0000   0.0000  -2.5000   4.3065
50.0000   2.5000   0.0000  73.0000  25.0000 -18.0000  27.1492
50.0000   2.5000   0.0000  61.0000  -5.0000  29.0000  22.8977
50.0000   2.5000   0.0000  56.0000 -27.0000  -3.0000  31.9030
50.0000   2.5000   0.0000  58.0000  24.0000  15.0000  19.4535
50.0000   2.5000   0.0000  50.0000   3.1736   0.5854   1.0000
50.0000   2.5000   0.0000  50.0000   3.2972   0.0000   1.0000
50.0000   2.5000   0.0000  50.0000   1.8634   0.5757   1.0000
50.0000   2.5000   0.0000  50.0000   3.2592   0.3350   1.0000
60.2574 -34.0099  36.2677  60.4626 -34.1751  39.4387   1.2644
63.0109 -31.0961  -5.8663  62.8187 -29.7946  -4.0864   1.2630
61.2901   3.7196  -5.3901  61.4292   2.2480  -4.9620   1.8731
35.0831 -44.1164   3.7933  35.0232 -40.0716   1.5901   1.8645
22.7233  20.0904 -46.6940  23.0331  14.9730 -42.5619   2.0373
36.4612  47.8580  18.3852  36.2715  50.5065  21.2231   1.4146
90.8027  -2.0831   1.4410  91.1528  -1.6435   0.0447   1.4441
90.9257  -0.5406  -0.9208  88.6381  -0.8985  -0.7239   1.5381
 6.7747  -0.2908  -2.4247   5.8714  -0.0985  -2.2286   0.6377
 2.0776   0.0795  -1.1350   0.9033  -0.0636  -0.5514   0.9082
"""


def colors(seed: int) -> torch.Tensor:
    return torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_ciede2000_gives_the_published_differences_both_ways() -> None:
    rows = torch.tensor([[float(x) for x in line.split()] for line in SHARMA.split("\n") if line], dtype=torch.float64)
    assert len(rows) == 34
    one, two, published = rows[:, :3].T[..., None], rows[:, 3:6].T[..., None], rows[:, 6]
    assert (ciede2000(one, two)[:, 0] - published).abs().max() < 1e-4
    assert (ciede2000(two, one)[:, 0] - published).abs().max() < 1e-4


def test_ciede2000_agrees_with_scikit_image_over_the_whole_cube() -> None:
    one, two = (rgb2lab(colors(seed).permute(1, 2, 0).numpy()) for seed in (1, 2))
    ours = ciede2000(torch.tensor(one).permute(2, 0, 1), torch.tensor(two).permute(2, 0, 1)).numpy()
    assert np.abs(ours - deltaE_ciede2000(one, two)).max() < 1e-6  # type: ignore[no-untyped-call]


def test_ciede2000_teaches_at_gray_where_angles_have_no_meaning() -> None:
    made = torch.tensor([50.0, 0.0, 0.0]).view(3, 1, 1).requires_grad_()
    ciede2000(made, torch.tensor([50.0, 20.0, 10.0]).view(3, 1, 1)).sum().backward()  # type: ignore[no-untyped-call]
    assert made.grad is not None
    assert torch.isfinite(made.grad).all()
    assert made.grad[1] < 0
    assert made.grad[2] < 0


def test_lab_agrees_with_scikit_image_and_comes_back() -> None:
    rgb = colors(3)
    theirs = torch.tensor(rgb2lab(rgb.permute(1, 2, 0).numpy())).permute(2, 0, 1)
    assert (rgb_to_lab(rgb) - theirs).abs().max() < 0.01
    assert (lab_to_rgb(rgb_to_lab(rgb)) - rgb).abs().max() < 1e-9


def test_luma_and_chroma_give_the_picture_back() -> None:
    rgb = colors(4)
    assert (join_luma_chroma(rec709_luma(rgb), rec709_chroma(rgb)) - rgb).abs().max() < 1e-12


def test_chroma_that_no_screen_can_show_is_reduced_and_never_moves_luma() -> None:
    luma, chroma = colors(5)[:1], colors(6)[:2] - 0.5
    rgb = join_luma_chroma(luma, chroma)
    assert rgb.min() >= -1e-12
    assert rgb.max() <= 1 + 1e-12
    assert (rec709_luma(rgb) - luma).abs().max() < 1e-12
    direction = rec709_chroma(rgb)[0] * chroma[1] - rec709_chroma(rgb)[1] * chroma[0]
    assert direction.abs().max() < 1e-12, "reduced, not turned"


def test_a_and_b_far_outside_of_the_gamut_keep_their_hue_and_leave_luma_alone() -> None:
    luma = torch.linspace(0, 1, 41, dtype=torch.float64).view(1, 1, 41).expand(1, 72, -1)
    angle = torch.linspace(0, 2 * torch.pi, 73, dtype=torch.float64)[:72].view(72, 1).expand(-1, 41)
    ab = torch.stack([angle.cos(), angle.sin()])
    for length in (180.0, 1000.0):
        rgb = luma + chroma_to_offsets(ab_to_chroma(luma, length * ab))
        assert rgb.min() > -2e-3
        assert rgb.max() < 1 + 2e-3
        assert (rec709_luma(rgb) - luma).abs().max() < 1e-6
        found = rgb_to_lab(rgb.clamp(0, 1))[1:]
        off_hue = turn(found, ab)[found.norm(dim=0) > 5]
        clipped = rgb_to_lab(lab_to_rgb(torch.cat([rgb_to_lab(luma.expand(3, -1, -1))[:1], length * ab])))[1:]
        assert off_hue.mean() < 3
        assert off_hue.max() < 25
        assert turn(clipped, ab)[found.norm(dim=0) > 5].mean() > 3 * off_hue.mean()


def turn(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """The angle between two hues, in degrees."""
    angles = torch.atan2(one[1], one[0]) - torch.atan2(two[1], two[0])
    return torch.rad2deg(torch.remainder(angles + torch.pi, 2 * torch.pi) - torch.pi).abs()


def test_colors_do_not_jump_where_a_and_b_leave_the_gamut() -> None:
    """A blotch: a and b grow to -180 over any luma, in steps of .03."""
    luma = torch.linspace(0.02, 0.98, 13).view(1, 13, 1).expand(-1, -1, 6000)
    ramp = torch.linspace(0, -180, 6000).view(1, 1, 6000).expand(2, 13, -1)
    assert ab_to_chroma(luma, ramp).diff(dim=2).abs().max() < 0.006
    chroma = ab_to_chroma(luma, ramp).norm(dim=0)
    assert (chroma[:, 1:] - chroma[:, :-1]).min() > -2e-3, "more a and b never give less chroma"


def test_a_and_b_inside_of_the_gamut_are_kept_as_they_are() -> None:
    luma = torch.full((1, 1, 2, 2), 0.5)
    ab = torch.tensor([[15.0, -20.0], [3.0, 0.0]]).view(1, 1, 2, 2).expand(-1, 2, -1, -1).clone().requires_grad_()
    lightness = rgb_to_lab(luma.expand(-1, 3, -1, -1))[:, :1]
    chroma = ab_to_chroma(luma, ab)
    assert torch.allclose(chroma, rec709_chroma(lab_to_rgb(torch.cat([lightness, ab], 1))), atol=1e-6)
    (grown,) = torch.autograd.grad(chroma.square().sum(), ab)
    assert grown.isfinite().all(), "training goes through it"
