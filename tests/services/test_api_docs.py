"""`/docs` in a real browser that reaches no other host, and its headers."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from elastic_yolo.lab.processes.stack import ROOT, Service, Stack
from tests.support.browsing import MISSING, chromium, is_installed
from tests.support.tiny import write_tiny_model

TIERS = ("web", "preprocess", "inference")
TOKEN = "a long enough token"  # noqa: S105
PICTURE = ROOT / "client" / "images" / "scene-01.jpg"
# A name: on loopback's address Swagger UI leaves out what it does on other hosts.
HOST = "service.example"
FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "api_docs.js")

in_browser = pytest.mark.skipif(not is_installed(), reason=MISSING)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("api-docs")
    env = {"web": {"ACCESS_TOKEN": TOKEN}, "inference": {"REPOSITORY_TOKEN": TOKEN}}
    with Stack(model=write_tiny_model(folder / "model"), logs=folder, env=env) as running:
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    rules = f"MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND"
    flags = [f"--host-resolver-rules={rules}"]
    profile = tmp_path_factory.mktemp("profile")
    with chromium(profile, {"browser": "ALL"}, flags) as running:
        yield running


def open_docs(browser: webdriver.Chrome, service: Service) -> webdriver.Chrome:
    browser.get_log("browser")  # clears the messages of earlier tests
    browser.get(f"http://{HOST}:{service.port}/docs")
    wait_for(browser, ".opblock")
    return browser


def wait_for(browser: webdriver.Chrome, selector: str) -> WebElement:
    """Return the first element, once there is one."""
    return WebDriverWait(browser, 30).until(
        lambda b: next(iter(b.find_elements(By.CSS_SELECTOR, selector)), None)
    )


@in_browser
@pytest.mark.parametrize("tier", TIERS)
def test_the_page_lists_every_operation_without_another_host(
    browser: webdriver.Chrome, stack: Stack, tier: str
) -> None:
    service: Service = getattr(stack, tier)
    paths = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    expected = sorted(path for path, operations in paths.items() for _ in operations)

    page = open_docs(browser, service)

    shown = page.find_elements(By.CSS_SELECTOR, ".opblock-summary-path")
    assert sorted(one.get_attribute("data-path") for one in shown) == expected
    loaded = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert {urlsplit(url).netloc for url in loaded} == {f"{HOST}:{service.port}"}
    assert {urlsplit(url).path for url in loaded} == {
        *(f"/docs/{name}" for name in FILES),
        "/openapi.json",
    }
    # Refusals of the policy and failed requests would be here.
    assert page.get_log("browser") == []


@in_browser
@pytest.mark.parametrize("media_type", ["multipart/form-data", "image/*"])
def test_a_picture_is_sent_from_the_page_with_the_token(
    browser: webdriver.Chrome, stack: Stack, media_type: str
) -> None:
    page = open_docs(browser, stack.web)
    wait_for(page, ".btn.authorize").click()
    wait_for(page, ".auth-container input").send_keys(TOKEN)
    wait_for(page, ".auth-container .authorize").click()
    wait_for(page, ".btn-done").click()
    wait_for(page, ".opblock-post .opblock-summary-control").click()
    kinds = Select(wait_for(page, ".opblock-section-request-body select"))
    kinds.select_by_visible_text(media_type)
    wait_for(page, ".opblock-post input[type=file]").send_keys(str(PICTURE))

    wait_for(page, ".opblock-post .execute").click()

    status = wait_for(page, ".live-responses-table tbody .response-col_status").text
    assert status.splitlines()[0] == "200"
    body = page.find_element(By.CSS_SELECTOR, ".live-responses-table .highlight-code").text
    assert '"success": "true"' in body
    assert page.get_log("browser") == []


def test_only_what_requires_a_token_says_so(stack: Stack) -> None:
    def guarded(service: Service) -> dict[str, set[str]]:
        schema = httpx.get(f"{service.url}/openapi.json").json()
        schemes = schema.get("components", {}).get("securitySchemes", {})
        return {
            f"{scheme['type']} {scheme.get('scheme', scheme.get('name'))}": {
                path
                for path, operations in schema["paths"].items()
                if all({name: []} in one.get("security", []) for one in operations.values())
            }
            for name, scheme in schemes.items()
        }

    web = guarded(stack.web)
    paths = {"/inference", "/models"}
    assert web == {"http bearer": paths, "apiKey X-API-Key": paths}
    assert guarded(stack.preprocess) == {}
    repository = "/v2/repository"
    assert guarded(stack.inference) == {
        "http bearer": {
            f"{repository}/models/{{name}}/load",
            f"{repository}/models/{{name}}/unload",
        }
    }


@pytest.mark.parametrize("tier", TIERS)
def test_the_policy_of_the_page_allows_no_other_host_and_no_inline_code(
    stack: Stack, tier: str
) -> None:
    page = httpx.get(f"{getattr(stack, tier).url}/docs")

    policy = dict(
        part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";")
    )
    assert policy.pop("img-src") == "'self' data: blob:"
    assert policy.pop("default-src") == "'none'"
    assert set(policy.values()) <= {"'self'", "'none'"}
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "http" not in page.text


@pytest.mark.parametrize("name", FILES)
def test_the_files_of_the_page_are_cached_for_a_day(stack: Stack, name: str) -> None:
    file = httpx.get(f"{stack.web.url}/docs/{name}")

    assert file.status_code == 200
    assert file.headers["Cache-Control"] == "public, max-age=86400"
    kind = "text/css" if name.endswith(".css") else "text/javascript"
    assert file.headers["Content-Type"].startswith(kind)
    assert file.headers["ETag"]


@pytest.mark.parametrize("path", ["/docs/", "/docs/api_docs.py", "/docs/..%2fapp.py", "/redoc"])
def test_nothing_else_is_served_beside_the_page(stack: Stack, path: str) -> None:
    assert httpx.get(f"{stack.web.url}{path}").status_code == 404
