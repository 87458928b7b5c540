"""The page of a prediction as a file: what it holds, how large it is, and that text stays text."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthdif import UserError
from depthdif.prediction.page import write_page
from depthdif.prediction.section import Section


def data_of(path: Path) -> dict[str, Any]:
    found = re.search(
        r'<script type="application/json" id="prediction-data">(.*?)</script>', path.read_text(), re.DOTALL
    )
    assert found is not None
    return json.loads(found[1])


def test_the_page_holds_all_times_depths_and_quantities(predicted_by_two: Any, tmp_path: Path) -> None:
    path = write_page(*predicted_by_two.arguments, tmp_path / "new" / "indian.html", Section(latitude=-10))
    data, dataset = data_of(path), predicted_by_two.dataset
    assert data["times"] == ["2000-01-15", "2000-02-15", "2000-03-15"]
    assert len(data["depths"]) == len(data["section"]["rows"]) == dataset.sizes["depth"]
    assert [one["label"] for one in data["quantities"]] == [
        *("first guess", "standard mean", "standard spread", "EMA mean", "EMA spread"),
        *("EMA minus standard, mean", "EMA minus standard, spread"),
    ]
    assert data["section"]["title"] == "along 10°S"
    assert "evenly chosen" not in path.read_text()
    assert path.stat().st_size < 10e6


def test_profiles_are_where_they_were_with_the_depths_at_which_they_count(
    predicted: Any, tmp_path: Path
) -> None:
    path = write_page(*predicted.arguments, tmp_path / "p.html", Section(latitude=-10), predicted.withheld)
    profiles, table = data_of(path)["profiles"][0]["map"], predicted.observations[0]
    dataset = predicted.dataset
    used = [profile for profile in profiles if not profile[2]]
    assert [profile[4] for profile in used] == table.platform.tolist()
    west, north = dataset["longitude"].values[0] - 1, dataset["latitude"].values[-1] + 1
    x, y = np.array([profile[:2] for profile in used]).T
    np.testing.assert_allclose(west + x * 2 * dataset.sizes["longitude"], table.longitude, atol=1e-2)
    np.testing.assert_allclose(north - y * 2 * dataset.sizes["latitude"], table.latitude, atol=1e-2)
    assert all(len(profile[3]) == dataset.sizes["depth"] for profile in profiles)
    time = dataset["time"].values[0]
    hidden = predicted.withheld.platform[predicted.withheld.time == time]
    assert {profile[4] for profile in profiles if profile[2]} == set(hidden)


@pytest.mark.parametrize("megabytes", [0.1, 0.2])
def test_a_large_prediction_is_thinned_evenly_to_the_size_of_the_page(
    predicted: Any, tmp_path: Path, megabytes: float
) -> None:
    path = write_page(*predicted.arguments, tmp_path / "p.html", Section(latitude=-10), megabytes=megabytes)
    assert path.stat().st_size <= megabytes * 1e6
    data = data_of(path)
    assert len(data["times"]) * len(data["depths"]) < 3 * predicted.dataset.sizes["depth"]
    assert data["levels"][0] == 0
    assert f"To stay below {megabytes:g} MB the maps show" in path.read_text()


def test_cells_are_left_out_where_a_map_has_more_than_its_pixels(
    predicted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depthdif.prediction.page.MOST_COLUMNS", 20)
    path = write_page(*predicted.arguments, tmp_path / "p.html", Section(latitude=-10), predicted.withheld)
    data = data_of(path)
    step = 4
    assert len(data["map"]["columns"]) == predicted.dataset.sizes["longitude"] // step
    assert len(data["section"]["columns"]) == predicted.dataset.sizes["longitude"]
    assert f"one of {step} cells in each direction" in path.read_text()


def test_text_of_files_is_text_and_nothing_is_loaded(predicted: Any, tmp_path: Path) -> None:
    table = predicted.observations[0]
    odd = dataclasses.replace(table, platform=np.full(len(table), "</script><script>alert(1)</script>"))
    scores = [{"method": "<i>OI</i>", "rmse": float("nan")}]
    dataset = predicted.dataset.assign_attrs(title="<img src=x onerror=alert(2)>")
    arguments = (dataset, "temperature", ("ema",), [odd, *predicted.observations[1:]])
    page = write_page(*arguments, tmp_path / "p.html", Section(latitude=-10), scores=scores).read_text()
    assert "alert(1)</script>" not in page
    assert "<img" not in page
    assert "<i>OI" not in page
    assert "&lt;i&gt;OI&lt;/i&gt;" in page
    assert not re.search(r"(src|href)=", page.replace("&lt;img src=x", ""))
    assert "default-src 'none'" in page


def test_missing_scores_are_empty(predicted: Any, tmp_path: Path) -> None:
    scores = [
        {"method": "OI", "rmse": 0.712345, "crps": None},
        {"method": "one", "rmse": float("nan"), "platforms": 3},
    ]
    page = write_page(
        *predicted.arguments, tmp_path / "p.html", Section(latitude=-10), scores=scores
    ).read_text()
    rows = re.findall(r"<tr><td>(?:OI|one)</td>.*?</tr>", page.replace(' class="n"', ""))
    assert rows == [
        "<tr><td>OI</td><td>0.7123</td><td></td><td></td></tr>",
        "<tr><td>one</td><td></td><td></td><td>3</td></tr>",
    ]


def test_a_page_of_no_size_is_refused(predicted: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="megabytes=0: expected a positive size"):
        write_page(*predicted.arguments, tmp_path / "p.html", Section(latitude=-10), megabytes=0)
    assert not list(tmp_path.iterdir())
