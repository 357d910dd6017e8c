"""Pictures: one drawing in every format, looks that can be told apart, ticks that are plain numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from intsnn.errors import UsageError
from intsnn.pictures import figure, legend_beside, log_scale, name_layers, picture_paths, series

pytestmark = pytest.mark.usefixtures("drawn_as_shipped")


def test_one_drawing_is_written_in_every_format_and_is_the_same_each_time(tmp_path: Path) -> None:
    paths = picture_paths(tmp_path / "one.svg", ["png", "pdf", "png", "svg"])
    assert [path.name for path in paths] == ["one.svg", "one.png", "one.pdf"]
    for folder in (tmp_path, tmp_path / "again"):
        folder.mkdir(exist_ok=True)
        with figure([folder / path.name for path in paths], title="whose numbers", panels=2) as panels:
            for axes in panels:
                axes.plot([1, 2], [3, 4], label="a line")
                legend_beside(axes)
    for path, start in zip(paths, (b"<?xml", b"\x89PNG", b"%PDF"), strict=True):
        assert path.read_bytes().startswith(start)
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    assert "whose numbers" in paths[0].read_text() and "a line" in paths[0].read_text()


def test_another_format_is_an_error_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in .svg, .png, .pdf"), figure([tmp_path / "a.bmp"], title="t"):
        pass
    assert not list(tmp_path.iterdir())


def test_no_two_of_many_series_look_alike() -> None:
    looks = [series(place) for place in range(56)]
    assert len({(look.color, look.marker) for look in looks}) == 56


@pytest.mark.parametrize(("values", "shown"), [((0.001, 8.0), {"0.01", "0.1", "1"}), ((3.0, 4.0), {"3.3", "3.6"})])
def test_logarithmic_ticks_are_plain_numbers(tmp_path: Path, values: tuple[float, float], shown: set[str]) -> None:
    with figure([tmp_path / "log.svg"], title="t") as (axes,):
        axes.plot([0, 1], values)
        log_scale(axes, "y")
    text = (tmp_path / "log.svg").read_text()
    assert all(f">{word}<" in text for word in shown) and "mathdefault" not in text


def test_a_legend_stands_beside_the_axes(tmp_path: Path) -> None:
    with figure([tmp_path / "legend.svg"], title="t") as (axes,):
        axes.plot([0, 1], [0, 1], label="a line with many words that need room")
        legend_beside(axes)
        axes.figure.canvas.draw()
        legend = axes.get_legend()
        assert legend is not None and legend.get_window_extent().x0 >= axes.get_window_extent().x1


def test_legends_and_names_of_layers_are_inside_the_picture(tmp_path: Path) -> None:
    with figure([tmp_path / "inside.svg", tmp_path / "inside.png"], title="t") as (axes,):
        axes.plot([0, 1], [0, 1], label="a line with many words that need room")
        legend_beside(axes)
        name_layers(axes, ["stages.0.neuron", "stages.1.blocks.3.neuron"])
        axes.set_ylabel("spikes per neuron and step")
    whole, inside = axes.figure.bbox, axes.get_tightbbox()
    assert inside is not None
    assert whole.x0 <= inside.x0 and inside.x1 <= whole.x1 and whole.y0 <= inside.y0 and inside.y1 <= whole.y1
