"""Load tests of the real services, and their reports in a real browser."""

from __future__ import annotations

import bisect
import csv
import json
import shutil
import signal
import time
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from elastic_yolo.lab.processes.stack import LOOPBACK, Stack, free_port
from elastic_yolo.lab.timeline import Sample, append_samples
from loadtest.answers import AnswerReader
from tests.loadtest.reports import locust_total, requested, rows, visit
from tests.loadtest.running import Done, run, running_commands, started
from tests.support.scripted_server import OK, Response, serve
from tests.support.waiting import wait_until

LIGHT = ("--shape", "step", "--users", "5", "--duration", "10")


WHY = "<b>96 %</b> > 70 %"


def write_scaling(file: Path) -> None:
    """Write the next minute: inference alternates between one and two pods, ready 1 s later."""
    now = time.time()
    for second in range(-1, 60):
        desired, ready = 1 + second // 2 % 2, 1 + (second - 1) // 2 % 2
        samples = [
            Sample(now + second, "web", 1, 1, 1, 70, 12.0, 0.024),
            Sample(now + second, "preprocess", 1, 1, 1, 70, 30.0, 0.15),
            Sample(now + second, "inference", 2, ready, desired, 70, 96.5, 0.965, WHY),
        ]
        append_samples(file, samples)


@pytest.fixture(scope="module")
def done(demo_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A run during which an autoscaler wrote its timeline."""
    folder = tmp_path_factory.mktemp("run")
    timeline = folder / "lab.jsonl"
    write_scaling(timeline)
    return run(
        folder / "report", demo_stack.web.url, *LIGHT, "--timeline", str(timeline),
        "--slo", "p95=20s,errors=0%,rate=0.5/s",
    )  # fmt: skip


@pytest.fixture
def report(done: Done, browser: webdriver.Chrome, tmp_path: Path) -> webdriver.Chrome:
    """The report alone, in another folder than its images and figures."""
    shutil.copy(done.folder / "report.html", tmp_path)
    visit(browser, (tmp_path / "report.html").as_uri())
    return browser


def test_a_run_that_meets_its_objectives_exits_with_0(done: Done) -> None:
    assert done.status == 0, done.stderr
    assert " s to http://127.0.0.1:" in done.stderr
    assert "(127.0.0.1, this machine)" in done.stderr
    for verdict in ("met: p95 at most", "met: errors at most 0.00 %", "met: rate at least 0.5/s"):
        assert verdict in done.stdout
    assert done.summary["served"] == done.summary["sent"] > 0


def test_the_figures_agree_with_locusts(done: Done) -> None:
    """Locust rounds times above 100 ms to two digits, and may use a neighbouring rank."""
    total = locust_total(done.folder)
    ours = done.summary
    log = AnswerReader(done.folder / "answers.csv")
    took_ms = sorted(answer.took_ms for answer in log.new())
    log.close()

    assert log.cpu_s
    assert ours["sent"] == int(total["Request Count"]) == len(took_ms)
    assert ours["failed"] == int(total["Failure Count"])
    for name, column in (("p50", "50%"), ("p95", "95%"), ("p99", "99%"), ("max", "100%")):
        rank = bisect.bisect_left(took_ms, ours["latency_ms"][name] - 0.1)
        near = took_ms[max(0, rank - 1) : rank + 2]
        assert near[0] * 0.94 - 1 <= float(total[column]) <= near[-1] * 1.06 + 1


def test_every_level_of_the_shape_is_offered(report: webdriver.Chrome) -> None:
    offered = [row[1] for row in rows(report, "#rate")]

    assert {"1.0", "2.0", "3.0", "4.0", "5.0"} <= set(offered)


def test_the_tables_of_the_report_agree_with_locust(done: Done, report: webdriver.Chrome) -> None:
    sent = int(locust_total(done.folder)["Request Count"])
    whole = {row[0]: row[1:] for row in rows(report, "#whole") if len(row) == 4}
    answered = sum(int(cell) for row in rows(report, "#statuses") for cell in row[1:])

    assert whole["sent"][0] == whole["served"][0] == str(sent)
    assert answered == sent


def test_replicas_and_cpu_are_charted_below_the_load(report: webdriver.Chrome) -> None:
    titles = [title.text for title in report.find_elements(By.TAG_NAME, "h2")]
    inference = [row[5:7] for row in rows(report, "#replicas")]
    decided = rows(report, "#decisions")

    charts = ["Offered and served", "Latency", "Status codes", "Replicas", "CPU"]
    assert [title for title in titles if title in charts] == charts
    assert {tuple(cells) for cells in inference} == {("1", "1"), ("1", "2"), ("2", "2"), ("2", "1")}
    assert {row[5] for row in rows(report, "#cpu")} == {"96"}
    # A reason from the timeline file is shown as text, not as markup.
    assert {tuple(row[1:]) for row in decided} == {
        ("inference", "1 → 2", WHY), ("inference", "2 → 1", WHY)
    }  # fmt: skip


def test_the_report_has_the_command_and_the_verdicts(report: webdriver.Chrome) -> None:
    facts = dict(rows(report, "#run"))

    assert "--shape step" in facts["command"]
    assert facts["shape"].startswith("step: 5 levels")
    assert facts["target"].startswith("http://127.0.0.1:")
    assert facts["model"].startswith("yolov3-tiny-emoji 1, sha256:")
    assert "locust 2." in facts["load generated by"]
    assert "CPUs" in facts["load generated by"]
    assert [row[2] for row in rows(report, "#objectives")] == ["met", "met", "met"]
    assert report.find_element(By.TAG_NAME, "h1").text == "The service met all 3 objectives"


def test_the_report_needs_no_network_and_logs_no_error(
    report: webdriver.Chrome,
) -> None:
    urls = {url for url in requested(report) if not url.startswith("data:")}

    assert urls == {report.current_url}
    assert report.get_log("browser") == []


LINES = "offered served rejected failed p50 p95 p99 web preprocess inference other".split()
TEXTS = "ink quiet met unmet".split()
COLOURS = """
const style = getComputedStyle(document.documentElement)
return arguments[0].map((name) => style.getPropertyValue("--" + name).trim())
"""


def luminance(colour: str) -> float:
    """Return the relative luminance of `#rgb` or `#rrggbb` (WCAG 2.2)."""
    digits = colour.removeprefix("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    parts = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def too_faint(report: webdriver.Chrome) -> list[str]:
    """Return the colours with less contrast than WCAG AA: 3 for lines, 4.5 for text."""
    names = [*LINES, *TEXTS]
    paper, soft, *colours = report.execute_script(COLOURS, ["paper", "soft", *names])
    found = []
    for name, colour in zip(names, colours, strict=True):
        least, ground = (4.5, soft) if name in TEXTS else (3, paper)
        lighter, darker = sorted((luminance(colour), luminance(ground)), reverse=True)
        if (lighter + 0.05) / (darker + 0.05) < least:
            found.append(name)
    return found


@pytest.mark.parametrize(
    ("scheme", "background"), [("light", "255, 255, 255"), ("dark", "21, 24, 28")]
)
@pytest.mark.parametrize("width", [390, 1280])
def test_the_report_is_readable_on_phones_and_in_dark_mode(
    report: webdriver.Chrome, width: int, scheme: str, background: str
) -> None:
    """Nothing is wider than the screen, and no text has the colour of the page."""
    report.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    report.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    wide = report.execute_script("return document.documentElement.scrollWidth")
    paper = report.execute_script("return getComputedStyle(document.body).backgroundColor")
    colours = report.execute_script(
        "return [...document.querySelectorAll('svg text')].map((t) => getComputedStyle(t).fill)"
    )
    shown = report.execute_script(
        "return [...document.querySelectorAll('.chart svg')].map((one) => one.clientWidth)"
        ".filter((one) => one > 0)"
    )

    assert too_faint(report) == []
    assert wide <= width
    assert len(shown) == 5
    # The charts use the width of the page.
    assert min(shown) >= 0.9 * width
    assert background in paper
    assert colours
    assert paper not in colours


CHARTS = ("rate", "latency", "statuses", "replicas", "cpu")
SHOWN = """
const found = {}
for (const row of document.querySelectorAll("#" + arguments[0] + " .tip dt"))
  found[row.textContent] = row.nextElementSibling.textContent
return found
"""


def tip(report: webdriver.Chrome, chart: str) -> tuple[str, dict[str, str]]:
    """Return what the visible tip of a chart says: its title and its values."""
    (title,) = [
        one.text for one in report.find_elements(By.CSS_SELECTOR, ".tip b") if one.is_displayed()
    ]
    return title, report.execute_script(SHOWN, chart)


def expected(report: webdriver.Chrome, chart: str, index: int) -> dict[str, str]:
    """Return a row of the chart's table by the heads of its columns."""
    heads = [
        str(head.get_property("textContent"))
        for head in report.find_elements(By.CSS_SELECTOR, f"#{chart} thead th")
    ]
    return dict(zip(heads[1:], rows(report, f"#{chart}")[index][1:], strict=True))


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("chart", CHARTS)
def test_a_chart_shows_its_values_at_the_pointer(
    report: webdriver.Chrome, chart: str, width: int
) -> None:
    """Tapped or pointed at in the middle of second 6 of the time axis."""
    report.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    box = report.find_element(By.CSS_SELECTOR, f"#{chart} .chart")
    report.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    drawing = next(
        one for one in box.find_elements(By.CSS_SELECTOR, "[data-left]") if one.is_displayed()
    )
    left, right = (float(drawing.get_attribute(f"data-{name}") or 0) for name in ("left", "right"))
    duration_s = float(report.execute_script("return document.body.dataset.duration"))
    x = drawing.rect["width"] * (left + (right - left) * 6.5 / duration_s)
    offset = round(x - drawing.rect["width"] / 2)

    ActionChains(report).move_to_element_with_offset(drawing, offset, 0).perform()

    assert tip(report, chart) == ("second 6 to 7", expected(report, chart, 6))
    assert report.execute_script("return document.documentElement.scrollWidth") <= width
    assert report.get_log("browser") == []


def test_the_arrow_keys_show_the_values_of_a_chart(report: webdriver.Chrome) -> None:
    box = report.find_element(By.CSS_SELECTOR, "#latency .chart")
    last = len(rows(report, "#latency")) - 1

    box.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    second = tip(report, "latency")
    box.send_keys(Keys.END, Keys.ARROW_RIGHT)
    end = tip(report, "latency")[1]
    box.send_keys(Keys.ESCAPE)

    assert second == ("second 1 to 2", expected(report, "latency", 1))
    assert end == expected(report, "latency", last)
    assert [one for one in report.find_elements(By.CLASS_NAME, "tip") if one.is_displayed()] == []


def test_p95_and_p99_differ_in_colour_dash_and_marker(report: webdriver.Chrome) -> None:
    drawn = report.execute_script(
        "return [...document.querySelectorAll('#latency .wide svg path')]"
        ".filter((path) => /--p\\d\\d/.test(path.style.cssText) && path.style.fill === 'none')"
        ".map((path) => [path.style.stroke, path.style.strokeDasharray])"
    )
    styles = {stroke: dashes for stroke, dashes in drawn if stroke.startswith("var(--p")}

    assert set(styles) == {"var(--p50)", "var(--p95)", "var(--p99)"}
    assert len(set(styles.values())) == 3


def test_folded_tables_are_printed(report: webdriver.Chrome) -> None:
    assert not report.find_element(By.CSS_SELECTOR, "#rate tbody").is_displayed()

    report.execute_cdp_cmd("Page.printToPDF", {})

    assert report.find_element(By.CSS_SELECTOR, "#rate tbody").is_displayed()


def test_every_chart_is_also_a_png(done: Done) -> None:
    for name in ("rate", "latency", "statuses", "replicas", "cpu", "overview"):
        assert (done.folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.long
def test_without_a_source_the_report_says_what_is_missing(
    demo_stack: Stack, tmp_path: Path, browser: webdriver.Chrome
) -> None:
    shape = ("--shape", "spike", "--users", "3", "--duration", "5")
    done = run(tmp_path / "report", demo_stack.web.url, *shape, "--json")

    visit(browser, (tmp_path / "report" / "report.html").as_uri())

    assert done.status == 0, done.stderr
    assert f'"sent": {done.summary["sent"]}' in done.stdout
    assert "source was not given: --timeline" in browser.find_element(By.CLASS_NAME, "note").text
    # Each chart once for phones and once for screens.
    assert len(browser.find_elements(By.TAG_NAME, "svg")) == 6
    assert "None given" in browser.find_element(By.ID, "objectives").text


@pytest.mark.long
def test_unmet_objectives_exit_with_1_and_are_named(tmp_path: Path) -> None:
    """A scripted service: two pictures served, one too large, and then it is busy."""
    script = [Response(), Response(), Response(413, b"{}"), Response(429, b"{}")]
    with serve(*script) as server:
        done = run(
            tmp_path / "report", server.url, "--shape", "spike", "--users", "5", "--duration", "5",
            "--slo", "p95=60s,errors=0%,rejected=0%",
        )  # fmt: skip

    assert done.status == 1
    assert done.stderr.endswith("loadtest: objectives not met: errors, rejected\n")
    assert "\nmet: p95 at most" in done.stdout
    statuses = done.summary["statuses"]
    # The first picture was sent before the run.
    assert (statuses["200"], statuses["413"]) == (1, 1)
    assert (done.summary["served"], done.summary["failed"]) == (1, 1)
    assert done.summary["rejected"] == statuses["429"] > 0


@pytest.mark.long
def test_markup_in_names_is_shown_as_text(tmp_path: Path, browser: webdriver.Chrome) -> None:
    """Of the model, of a tier, and of its reasons: all are another program's."""
    markup = "<img src=x onerror=alert(1)><b>&amp;</b>"
    answer = {**json.loads(OK), "model": {"name": markup, "version": "1", "digest": "0"}}
    timeline = tmp_path / "lab.jsonl"
    now = time.time()
    for second in range(30):
        pods = 1 + second % 2
        one = Sample(now + second, markup, pods, pods, pods, 70, 10.0, 0.1, markup)
        append_samples(timeline, [one])
    with serve(Response(body=json.dumps(answer).encode())) as server:
        run(
            tmp_path / "report", server.url, "--shape", "spike", "--users", "2", "--duration", "5",
            "--timeline", str(timeline),
        )  # fmt: skip

    visit(browser, (tmp_path / "report" / "report.html").as_uri())
    browser.find_element(By.CSS_SELECTOR, "#replicas .chart").send_keys(Keys.ARROW_RIGHT)

    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert dict(rows(browser, "#run"))["model"] == f"{markup} 1, 0"
    assert {row[3] for row in rows(browser, "#decisions")} == {markup}
    assert set(tip(browser, "replicas")[1]) == {f"{markup} ready", f"{markup} desired"}
    titles = browser.find_elements(By.CSS_SELECTOR, "#replicas .wide text")
    assert f"Pods of {markup}" in [str(one.get_property("textContent")) for one in titles]
    assert browser.get_log("browser") == []


@pytest.mark.long
def test_failed_pictures_fail_the_run_by_their_objective(tmp_path: Path) -> None:
    """A service for small pictures only: full-hd ones and photos get 413."""
    slo = "errors=1%,rejected=0%"
    with Stack(env={"web": {"MAX_PIXELS": "1500000"}}, logs=tmp_path) as stack:
        done = run(tmp_path / "report", stack.web.url, *LIGHT, "--slo", slo)

    assert done.status == 1
    assert done.stderr.endswith("loadtest: objectives not met: errors\n")
    assert "NOT MET: errors at most 1.00 %, measured " in done.stdout
    assert "\nmet: rejected at most 0.00 %" in done.stdout
    assert done.summary["failed"] == done.summary["statuses"]["413"] > 0
    with (done.folder / "locust_failures.csv").open(newline="") as file:
        occurrences = [int(row["Occurrences"]) for row in csv.DictReader(file)]
    assert sum(occurrences) == done.summary["failed"]


@pytest.mark.long
def test_rejected_pictures_are_counted_apart_from_failures(tmp_path: Path) -> None:
    """A service with room for one picture at a time, and 20 users."""
    with Stack(env={"web": {"MAX_IN_FLIGHT": "1"}}, logs=tmp_path) as stack:
        done = run(
            tmp_path / "report", stack.web.url, "--shape", "overload", "--users", "20",
            "--duration", "8", "--slo", "rejected=0%,errors=0%",
        )  # fmt: skip

    assert done.status == 1
    assert done.stderr.endswith("loadtest: objectives not met: rejected\n")
    assert done.summary["rejected"] == done.summary["statuses"]["429"] > 0
    assert done.summary["failed"] == int(locust_total(done.folder)["Failure Count"]) == 0


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_a_stopped_run_ends_its_load_and_leaves_a_report(
    demo_stack: Stack, tmp_path: Path, number: signal.Signals
) -> None:
    shape = ("--shape", "step", "--users", "5", "--duration", "3600")
    answers = tmp_path / "report" / "answers.csv"
    with started(tmp_path / "report", demo_stack.web.url, *shape) as process:
        wait_until(
            lambda: answers.exists() and len(answers.read_text().splitlines()) > 5, "load", 60
        )
        process.send_signal(number)
        _, said = process.communicate(timeout=60)

    sent = len(answers.read_text().splitlines())
    assert process.returncode == 1
    assert said.endswith("loadtest: stopped; the report covers the run until then\n")
    assert "The run was stopped after" in (tmp_path / "report" / "report.html").read_text()
    assert str(tmp_path) not in running_commands()
    assert len(answers.read_text().splitlines()) == sent


def test_an_unreachable_target_gets_no_load(tmp_path: Path) -> None:
    url = f"http://{LOOPBACK}:{free_port()}"

    done = run(tmp_path / "report", url, *LIGHT, "--wait", "1")

    assert done.status == 1
    said = done.stderr.splitlines()
    assert (
        sum(line.startswith(f"waiting up to 1 s for {url}: cannot be reached") for line in said)
        == 1
    )
    assert said[-1].startswith(f"loadtest: {url} cannot be reached: ")
    assert not (tmp_path / "report" / "report.html").exists()


def test_a_target_that_is_not_our_web_service_gets_no_load(
    demo_stack: Stack, tmp_path: Path
) -> None:
    done = run(tmp_path / "report", demo_stack.preprocess.url, *LIGHT)

    assert done.status == 1
    assert "returned 404 for a first picture" in done.stderr
