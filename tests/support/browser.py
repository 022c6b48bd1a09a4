"""A real Chromium, logged in to the running Airflow; for browser tests, and for what a person does in a whole run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.stack import ROOT, Stack

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")
QUIET = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("NOT RUN: no chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """A page with Airflow's login cookie; errors of scripts fail the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US", timezone_id="UTC")
    context.add_cookies([{"name": "_token", "value": stack.token(), "url": stack.airflow_url}])
    context.add_init_script("localStorage.setItem('default_dag_view', '\"graph\"')")
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(f"{opened.url}: {error}"))
    yield opened
    context.close()
    assert errors == []


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where screenshots are kept for a person to look at (`STEPZERO_PICTURES`)."""
    folder = Path(os.environ.get("STEPZERO_PICTURES") or ROOT / ".stepzero" / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
