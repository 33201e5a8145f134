"""The report and the dashboard in a real browser: what people see, at desk and phone width."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from dossiers import dossier
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from lamsearch import dashboard, numerals, others, wording
from lamsearch.answer import Answer
from lamsearch.dashboard.server import server
from lamsearch.dossier import dossier as dossier_of
from lamsearch.report import write_report
from lamsearch.store import Store
from tests.store import worlds

pytestmark = pytest.mark.browser

CASE = dossier(failed=7, high=0.5, collapse_from=0.1)
ANSWER = CASE.answer
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
PLACES = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "chromedriver": ("chromedriver",),
}


def found(kind: str) -> str:
    """The program's path; without one the tests are skipped on a laptop and fail in CI."""
    for name in PLACES[kind]:
        if path := shutil.which(name):
            return path
    if os.environ.get("CI") == "true":
        pytest.fail(f"{kind} is missing, and CI must not skip the browser tests")
    pytest.skip(f"{kind} is not installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = found("chromium")
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(found("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    paths = write_report(CASE, tmp_path_factory.mktemp("report"))
    return paths[0].as_uri()


def look(
    browser: webdriver.Chrome, address: str, *, width: int = 1280, scheme: str = "light", scripts: bool = True
) -> None:
    command = browser.execute_cdp_cmd
    phone = width < 600
    command(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": phone},
    )
    command("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    command("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    browser.get(address)


def visible(browser: webdriver.Chrome, selector: str) -> list[WebElement]:
    return [element for element in browser.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed()]


@pytest.mark.parametrize("width", [1280, 768, 390, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_fits_its_window_without_complaints(
    browser: webdriver.Chrome, page: str, width: int, scheme: str
) -> None:
    look(browser, page, width=width, scheme=scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    drawn = visible(browser, "figure svg")
    assert len(drawn) == 6
    assert {element.get_attribute("class") for element in drawn} == {"narrow" if width <= 640 else "wide"}
    assert browser.get_log("browser") == []


def test_the_first_screen_of_a_phone_answers_which_lambda_and_how_sure(browser: webdriver.Chrome, page: str) -> None:
    look(browser, page, width=390)
    for selector, text in (
        ("h1", wording.headline(ANSWER)),
        (".lede", others.lede(ANSWER)),
        (".tiles", numerals.lam(ANSWER.lam)),
    ):
        element = browser.find_element(By.CSS_SELECTOR, selector)
        assert text in element.text
        assert element.rect["y"] + element.rect["height"] < 844


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser: webdriver.Chrome, page: str, scheme: str) -> None:
    look(browser, page, scheme=scheme)
    style = "return getComputedStyle(document.querySelector(arguments[0])).getPropertyValue(arguments[1])"
    ground = browser.execute_script(style, "body", "background-color")
    for selector, name in (
        *(("body", "color"), ("figcaption", "color"), ("a[href]", "color"), (".tiles .small", "color")),
        *((f"text.f-{ink}", "fill") for ink in ("ink", "muted", "c1", "c2", "c3", "c4")),
    ):
        assert contrast(browser.execute_script(style, selector, name), ground) >= 4.5, selector


def contrast(front: str, back: str) -> float:
    """WCAG 2.2 contrast ratio of two ``rgb(…)`` colours."""

    def luminance(colour: str) -> float:
        parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(front), luminance(back)))
    return (high + 0.05) / (low + 0.05)


def column(browser: webdriver.Chrome, number: int) -> list[float]:
    rows = "[...document.querySelectorAll('#trials .broad tbody tr')]"
    texts = browser.execute_script(f"return {rows}.map((row) => row.cells[arguments[0]].dataset.v)", number)
    return [float(text) for text in texts if text]


def test_the_trial_table_sorts_up_and_down(browser: webdriver.Chrome, page: str) -> None:
    look(browser, page)
    assert column(browser, 0) == sorted(column(browser, 0))
    button = browser.find_elements(By.CSS_SELECTOR, "#trials .broad th button")[4]
    head = button.find_element(By.XPATH, "..")
    for order, expected in (("ascending", False), ("descending", True)):
        browser.execute_script("arguments[0].click()", button)
        assert head.get_attribute("aria-sort") == order
        scores = column(browser, 4)
        assert scores == sorted(scores, reverse=expected)
        assert len(scores) > 10


def test_without_scripts_the_page_says_the_same(browser: webdriver.Chrome, page: str) -> None:
    look(browser, page)
    full = browser.find_element(By.TAG_NAME, "main").text
    look(browser, page, scripts=False)
    try:
        assert browser.find_elements(By.CSS_SELECTOR, "th button") == []
        assert browser.find_element(By.TAG_NAME, "main").text == full
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_screen_readers_hear_one_named_picture_per_figure(browser: webdriver.Chrome, page: str) -> None:
    look(browser, page, width=390)
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    pictures = [node for node in nodes if node["role"]["value"] == "image" and not node["ignored"]]
    assert len(pictures) == 6
    said = " ".join(node["name"]["value"] for node in pictures)
    assert wording.headline(ANSWER) in said
    assert "gradient norm per layer" in said


def test_screen_readers_find_their_way(browser: webdriver.Chrome, page: str) -> None:
    look(browser, page)
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    seen = [node for node in nodes if not node["ignored"]]
    levels = [
        next(part["value"]["value"] for part in node["properties"] if part["name"] == "level")
        for node in seen
        if node["role"]["value"] == "heading"
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels)), "no level is skipped"
    named = {role: [n for n in seen if n["role"]["value"] == role] for role in ("table", "image", "region", "main")}
    assert {role: len(found) for role, found in named.items()}["main"] == 1
    for role in ("table", "image", "region"):
        assert named[role], role
        assert all(node["name"]["value"] for node in named[role]), role
    scopes = browser.execute_script("return [...document.querySelectorAll('th')].map((head) => head.scope)")
    assert set(scopes) == {"row", "col"}


def test_everything_that_scrolls_or_sorts_is_reached_by_keyboard(browser: webdriver.Chrome, page: str) -> None:
    look(browser, page)
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the answer"
    wanted = {element.id for element in visible(browser, "#trials .broad, #trials .broad th button, summary")}
    reached = set()
    for _ in range(80):
        body.send_keys(Keys.TAB)
        reached.add(browser.switch_to.active_element.id)
        if wanted <= reached:
            break
    assert wanted <= reached
    button = browser.find_elements(By.CSS_SELECTOR, "#trials .broad th button")[4]
    button.send_keys(Keys.ENTER)
    assert button.find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"


def test_hostile_names_do_not_run(browser: webdriver.Chrome, tmp_path: Path) -> None:
    evil = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    bad = replace(CASE, answer=replace(ANSWER, study=evil, notes=(evil,)), command=evil, settings={evil: evil})
    look(browser, write_report(bad, tmp_path)[0].as_uri())
    assert browser.title.startswith("<script>")
    assert evil in browser.find_element(By.CSS_SELECTOR, ".origin").text


def test_print_shows_everything_in_ink_on_white(browser: webdriver.Chrome, page: str) -> None:
    look(browser, page, width=390, scheme="dark")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        style = "return getComputedStyle(document.body).backgroundColor"
        assert browser.execute_script(style) == "rgb(255, 255, 255)"
        assert {drawn.get_attribute("class") for drawn in visible(browser, "figure svg")} == {"wide"}
        assert browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.fixture
def study(tmp_path: Path) -> tuple[str, Answer]:
    """A study in a real store, its fold results made up, finished, mirrored and published: (URL, its answer)."""
    store = Store(f"sqlite:///{tmp_path / 'lam.db'}")
    row = store.submit(worlds.config("shown", trials=6, folds=3), worlds.FACTS)
    worlds.work(store, row, worlds.register(store))
    answer = dossier_of(store, row).answer
    assert store.mirror(row.id, then=lambda optuna: dashboard.publish(optuna, row.name, answer))
    store.close()
    return f"sqlite:///{tmp_path / 'lam.db'}", answer


def test_the_real_dashboard_shows_the_verdict_the_curve_and_numbers_to_plot(
    browser: webdriver.Chrome, study: tuple[str, Answer]
) -> None:
    def shows(text: str) -> Callable[[Any], bool]:
        return lambda driver: text in driver.find_element(By.TAG_NAME, "body").text

    url, answer = study
    wait = WebDriverWait(browser, 60)
    with server(url, port=0) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        here = f"http://127.0.0.1:{running.server_port}/dashboard/studies/1"
        look(browser, f"{here}/note")
        wait.until(shows(wording.headline(answer)))
        wait.until(shows(wording.gain(answer)))
        look(browser, here)
        wait.until(lambda driver: "measured on all folds" in driver.page_source)
        wait.until(lambda driver: wording.headline(answer) in driver.page_source)
        wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "[role=combobox]"))[0].click()
        options = wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "[role=option]"))
        offered = {
            str(option.get_attribute("textContent")).removeprefix("User Attribute "): option for option in options
        }
        wanted = {"lam_over_m", "sem", "train_acc", "weight_norm", "near_zero", "grad_norm conv1"}
        assert wanted <= set(offered)
        browser.execute_script("arguments[0].click()", offered["weight_norm"])
        axes = "return [...document.querySelectorAll('.ytitle')].map((title) => title.textContent)"
        wait.until(lambda driver: any("weight_norm" in title for title in driver.execute_script(axes)))
        running.shutdown()
        thread.join()
