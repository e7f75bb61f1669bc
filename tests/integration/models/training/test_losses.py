"""The feature loss on real photographs."""

import pytest
from tests.integration.models.training.networks.short_runs import sample_crops
from tests.paths import SHARED

from retint_models.datasets.photographs import Photos
from retint_models.training.losses import LAYERS_BEFORE_POOLS, FeatureLoss
from retint_models.training.networks.deoldify_2018 import to_rec601_gray
from retint_models.training.pretrained import read_backbone


def test_efficientnet_lite0_tells_a_false_color_from_a_true_one(photos: Photos) -> None:
    file = SHARED / "weights" / "efficientnet_lite0_imagenet_fp16.safetensors"
    compare = FeatureLoss(read_backbone(file, LAYERS_BEFORE_POOLS[:3]), (20, 70, 10))
    pixels = FeatureLoss(None, ())
    rgb = sample_crops(photos, 64)
    gray = to_rec601_gray(rgb)
    assert compare(rgb, rgb, 1.0) == pytest.approx(0, abs=1e-5)
    assert compare(gray, rgb, 1.0) > 1.05 * pixels(gray, rgb, 1.0)
