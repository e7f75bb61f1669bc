"""The command `retint weights calibrate`."""

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from retint_models.command.arguments import FILE, FOLDER, translate_errors

WITH_THESE_WEIGHTS = ("compact", "compact-vivid")
"""The cards of one weights file; the calibration holds for the settings of both."""


@click.command(
    epilog="""\b
Examples:
  retint weights calibrate dev/
  retint weights calibrate dev/ --weights RUN/weights.safetensors

PHOTOS are photographs in color that were held back from training. One half of them fits the confidence of compact; the
other half then says how true it is: places by how sure the network is of them, with the error that it expects there and
the one that is found. What is printed first belongs on the cards of compact and compact-vivid, in weights.toml.
"""
)
@click.argument("photos", type=FOLDER)
@click.option("--weights", "file", type=FILE, help="Weights of compact as safetensors; those that ship by default.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
def calibrate(photos: Path, file: Path | None, threads: int | None) -> None:
    """Fit how sure a layer of compact says it is."""
    import torch

    from retint_models.datasets.halves import HALVES, keep_half
    from retint_models.datasets.photographs import open_photos
    from retint_models.evaluation.calibration import table_lines
    from retint_models.evaluation.samples import make_color_samples
    from retint_models.networks.compact import Calibration, Compact
    from retint_models.networks.registry import card
    from retint_models.training import confidence
    from retint_models.weights import checkpoints
    from retint_models.weights.loading import fill_network, load_tensors

    if threads:
        torch.set_num_threads(threads)
    with translate_errors(), TemporaryDirectory() as scratch:
        network = Compact()
        fill_network(network, checkpoints.read(file).tensors if file else load_tensors(card("compact")), "compact")
        held_back = open_photos(photos, Path(scratch))
        choosing, judging = (make_color_samples(keep_half(held_back, half)) for half in HALVES)
        used = [card(name).fill_settings({}) for name in WITH_THESE_WEIGHTS]
        gains = [(settings["gain"], settings["limit"]) for settings in used]
        fitted = confidence.fit([confidence.observe(network, sample, [(1.0, 1.0), *gains]) for sample in choosing])
        click.echo(f"calibration = {{ error = {fitted.error}, chroma = {fitted.chroma} }}")
        for name, gain in zip(WITH_THESE_WEIGHTS, gains, strict=True):
            observed = [confidence.observe(network, sample, [gain]) for sample in judging]
            for title, calibration in (("as the network says", Calibration()), ("calibrated", fitted)):
                click.echo(f"\n{name}, {title}, on {len(judging)} photographs that only judge:")
                click.echo("\n".join(table_lines(confidence.tabulate_with(observed, calibration))))
