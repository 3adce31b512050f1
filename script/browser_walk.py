"""Clicks through the Swagger page of a running server in a real Chromium, as a fan does, from sign-up to ticket.

Run by script/test-browser, which says what it needs. Every step has to answer as it should, or the walk ends there; all
other faults are gathered and told at the end.
"""

import argparse
import json
import secrets
import signal
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
    TimeoutException,
    WebDriverException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

# The groups of the page: a fan's work in its order, then the operator's.
TAGS = [
    "Account",
    "Concerts",
    "Line",
    "Seats",
    "Payment",
    "Tickets",
    "Operator: catalogue",
    "Operator: sale",
    "Operator: line",
    "Operator: reports",
    "System",
]
# What takes the header Queue-Token, and so has to take it from Authorize.
BEHIND_THE_LINE = ["joinQueue", "readMyPlace", "followMyPlace", "leaveQueue", "listSeats", "reserveSeats"]
# Most seconds for anything that the page or the server does at once, and for a turn in line.
AT_ONCE_SECS = 20
TURN_SECS = 60
# What a page does that is just being drawn anew; the next try finds it as it is then.
PASSING = [
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
]
# Swagger UI behaves otherwise on "localhost" than on the name of a real server. This one leads to this machine.
HOST = "onsale.test"


class Fault(Exception):
    """What ends the walk."""


class Answer:
    """What the page shows after "Execute"."""

    def __init__(self, status, text, curl):
        self.status, self.text, self.curl = status, text, curl

    def json(self):
        return json.loads(self.text)


class Page:
    """The Swagger page. Operations go by their operationId, in whatever group they are."""

    def __init__(self, driver, url, screenshots):
        self.driver, self.url, self.screenshots = driver, url, screenshots
        self.faults = []
        self.shots = 0

    def open(self):
        self.driver.get(self.url)
        self.until("the page shows the operations", lambda: self.all(".opblock"))

    def reload(self):
        self.driver.refresh()
        self.until("the page shows the operations again", lambda: self.all(".opblock"))

    def all(self, selector, within=None):
        return (within or self.driver).find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector, within=None):
        return self.until(f"the page has {selector}", lambda: next(iter(self.all(selector, within)), None))

    def until(self, what, condition, secs=AT_ONCE_SECS):
        """Waits until the condition is truthy, and answers it."""
        try:
            wait = WebDriverWait(self.driver, secs, poll_frequency=0.05, ignored_exceptions=PASSING)
            return wait.until(lambda _: condition())
        except TimeoutException:
            raise Fault(f"not within {secs} s: {what}") from None

    def click(self, element):
        def clicked():
            # Away from the edges of the window, where something else may lie over it.
            self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()
            return True

        self.until("what is to be clicked lies open", clicked)

    def type(self, element, text):
        self.click(element)
        element.send_keys(Keys.CONTROL, "a")
        element.send_keys(Keys.DELETE)
        # As a paste: one event, whatever the length.
        self.driver.execute_cdp_cmd("Input.insertText", {"text": text})
        self.until(f"the page takes what is typed: {text}", lambda: element.get_attribute("value") == text)

    def check(self, holds, fault):
        """Notes a fault, once; the walk goes on."""
        if not holds and fault not in self.faults:
            self.faults.append(fault)
            print(f"   FAULT: {fault}", flush=True)

    def shot(self, name, element=None):
        if self.screenshots is None:
            return
        if element is not None:
            self.driver.execute_script("arguments[0].scrollIntoView({block: 'start'})", element)
        self.shots += 1
        self.driver.save_screenshot(str(self.screenshots / f"{self.shots:02}-{name}.png"))

    # --- Operations -----------------------------------------------------------------------------------------------

    def operation(self, operation_id):
        """The block of an operation, the only open one: a page with many of them is slow."""
        block = self.one(f".opblock[id$='-{operation_id}']")
        for other in self.all(".opblock.is-open"):
            if other != block:
                self.click(self.one(".opblock-summary-control", other))
                self.until("an operation closes", lambda: "is-open" not in other.get_attribute("class"))
        if "is-open" not in block.get_attribute("class"):
            self.click(self.one(".opblock-summary-control", block))
            self.one(".opblock-body", block)
        return block

    def execute(self, operation_id, expected, body=None, **parameters):
        """Fills the form of an operation, presses "Execute", and waits for one of the expected codes."""
        block = self.operation(operation_id)
        if not self.all(".execute", block):
            self.click(self.one(".try-out__btn", block))
        for name, value in parameters.items():
            field = self.one(f"tr[data-param-name='{name.replace('_', '-')}'] :is(input, select)", block)
            if field.tag_name == "select":
                self.click(field)
                field.send_keys(value)
                field.send_keys(Keys.ENTER)
                self.until(f"{name} is {value}", lambda: field.get_attribute("value") == value)
            else:
                self.type(field, value)
        if body is not None:
            self.type(self.one("textarea.body-param__text", block), json.dumps(body, indent=2))
        # The answer of the time before must not be taken for this one.
        if clear := self.all(".btn-clear", block):
            self.click(clear[0])
            self.until(f"{operation_id} is cleared", lambda: not self.all(".live-responses-table", block))
        self.click(self.one(".execute", block))
        refused = self.all(".validation-errors", block)
        if refused:
            raise Fault(f"{operation_id} is not sent: {refused[0].text}")
        answer = self.until(f"{operation_id} shows an answer", lambda: self.answer(block))
        shown = f"{operation_id}: {answer.status}"
        print(f"   {shown}", flush=True)
        self.shot(f"{operation_id}-{answer.status}", self.one(".live-responses-table", block))
        if answer.status not in expected:
            raise Fault(f"{shown} instead of {' or '.join(map(str, expected))}: {answer.text[:500]}")
        undocumented = self.all(".live-responses-table .response-undocumented", block)
        self.check(not undocumented, f"{shown} is not in the document")
        return answer

    def answer(self, block):
        """What is shown, or nothing yet."""
        # The head of the table has the same class.
        cells = self.all(".live-responses-table tr.response .response-col_status", block)
        status = cells[0].text.split() if cells else []
        if not status or not status[0].isdigit():
            return None
        texts = self.all(".live-responses-table .response-col_description .highlight-code pre", block)
        text = texts[0].get_attribute("textContent") if texts else ""
        curls = self.all(".curl-command pre", block)
        return Answer(int(status[0]), text, curls[0].get_attribute("textContent") if curls else "")

    # --- Authorize ------------------------------------------------------------------------------------------------

    def dialog(self, opener):
        """What Authorize offers: the part of the dialog for each security scheme."""
        self.click(opener)
        self.one(".modal-ux .auth-container")
        # "queue_token  (apiKey)"
        return {part.find_element(By.TAG_NAME, "h4").text.split()[0]: part for part in self.all(".modal-ux .auth-container")}

    def leave_dialog(self):
        self.click(self.one(".modal-ux .close-modal"))
        self.until("the dialog closes", lambda: not self.all(".modal-ux"))

    def authorize(self, scheme, value):
        part = self.dialog(self.one(".auth-wrapper .btn.authorize")).get(scheme)
        if part is None:
            raise Fault(f"Authorize offers no {scheme}")
        self.type(self.one("input", part), value)
        self.click(self.one("button.authorize", part))
        self.until(f"{scheme} is authorized", lambda: scheme in self.authorized())
        self.shot(f"authorize-{scheme}")
        self.leave_dialog()

    def authorized(self):
        """The schemes of the open dialog that have a value."""
        parts = [part for part in self.all(".modal-ux .auth-container") if "Logout" in part.text]
        return {part.find_element(By.TAG_NAME, "h4").text.split()[0] for part in parts}

    def authorized_now(self):
        self.dialog(self.one(".auth-wrapper .btn.authorize"))
        schemes = self.authorized()
        self.leave_dialog()
        return schemes

    def schemes_of(self, operation_id):
        """What the lock of one operation asks for."""
        block = self.operation(operation_id)
        locks = self.all(".authorization__btn", block)
        schemes = set(self.dialog(locks[0])) if locks else set()
        if locks:
            self.leave_dialog()
        return schemes


def look_at_the_page(page):
    title = page.one(".info .title").text.split()
    page.check(title[:1] == ["Onsale"], f"the title is {' '.join(title)}")
    tags = [tag.get_attribute("data-tag") for tag in page.all(".opblock-tag")]
    page.check(tags == TAGS, f"the groups are {tags} and not {TAGS}")
    page.shot("page")


def find_concert(page, title):
    """Turns the pages of the list until the concert is there."""
    deadline = time.monotonic() + AT_ONCE_SECS
    cursor = ""
    while time.monotonic() < deadline:
        found = page.execute("listConcerts", [200], limit="100", cursor=cursor).json()
        for concert in found["items"]:
            if concert["title"] == title:
                return concert
        # From the start after the end: a list may be a little old.
        cursor = found["next_cursor"] or ""
    raise Fault(f"listConcerts does not show {title} within {AT_ONCE_SECS} s")


def stand_in_line(page, concert_id):
    """Joins, asks until it is our turn, and answers the queue token."""
    place = page.execute("joinQueue", [201], id=concert_id).json()
    token = place["token"]
    deadline = time.monotonic() + TURN_SECS
    while place["state"] == "waiting":
        # Who asks much earlier is refused: as long as the answer says, and it is the server that says it.
        again_at = time.monotonic() + place["poll_after_ms"] / 1000
        if again_at > deadline:
            raise Fault(f"no turn within {TURN_SECS} s")
        page.until("it is time to ask again", lambda: time.monotonic() >= again_at, TURN_SECS)
        place = page.execute("readMyPlace", [200], id=concert_id).json()
        token = place["token"] or token
    if place["state"] != "active":
        raise Fault(f"the place is {place['state']}")
    return token


def see_picture(page, operation_id):
    """The answer has to be a picture that a person sees: square, large enough, dark on light."""
    block = page.operation(operation_id)
    picture = page.one(".live-responses-table img", block)
    page.until("the picture is loaded", lambda: picture.get_property("naturalWidth") > 0)
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    page.shot("picture")
    size = picture.size
    page.check(size["width"] == size["height"] >= 100, f"the picture is shown as {size}")
    dark = page.driver.execute_script(
        """const [picture] = arguments, canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
        const brush = canvas.getContext("2d");
        brush.drawImage(picture, 0, 0);
        const points = brush.getImageData(0, 0, canvas.width, canvas.height).data;
        let dark = 0;
        for (let i = 0; i < points.length; i += 4) dark += points[i] < 128 && points[i + 3] > 127;
        return dark / (points.length / 4);""",
        picture,
    )
    page.check(0.2 < dark < 0.8, f"{dark:.0%} of the picture is dark, as of no QR code")


def walk(page, concert_title):
    page.open()
    look_at_the_page(page)

    account = {"email": f"browser-{secrets.token_hex(8)}@e2e.example", "password": secrets.token_urlsafe(24)}
    page.execute("signUp", [201], body=account | {"display_name": "Mina"})
    access_token = page.execute("logIn", [200], body=account).json()["access_token"]
    page.authorize("access_token", access_token)
    me = page.execute("readMe", [200]).json()
    page.check(me["email"] == account["email"], f"readMe answers {me}")

    concert = find_concert(page, concert_title)
    page.execute("readConcert", [200], id=concert["id"])
    show = page.execute("listShows", [200], id=concert["id"]).json()["items"][0]
    page.execute("readAvailability", [200], id=show["id"])

    queue_token = stand_in_line(page, concert["id"])
    page.authorize("queue_token", queue_token)
    for operation_id in BEHIND_THE_LINE:
        schemes = page.schemes_of(operation_id)
        page.check("queue_token" in schemes, f"{operation_id} takes no queue_token from Authorize, but {schemes or 'none'}")
        fields = page.all("tr[data-param-name='Queue-Token']", page.operation(operation_id))
        page.check(not fields, f"{operation_id} has a field Queue-Token beside Authorize")

    page.reload()
    lost = {"access_token", "queue_token"} - page.authorized_now()
    page.check(not lost, f"a reload of the page forgets {sorted(lost)}")
    for scheme in sorted(lost):
        page.authorize(scheme, access_token if scheme == "access_token" else queue_token)

    shown = page.execute("readMyPlace", [200], id=concert["id"])
    page.check("Queue-Token: " in shown.curl, "readMyPlace is sent without the queue token of Authorize")
    seats = page.execute("listSeats", [200], id=show["id"]).json()["items"]
    seat = next((seat for seat in seats if seat["state"] == "available"), None)
    if seat is None:
        raise Fault("no seat is available")
    choice = {"seats": [{"seat_id": seat["seat_id"], "version": seat["version"]}]}
    reservation = page.execute("reserveSeats", [201], body=choice, id=show["id"]).json()

    price = {"amount_minor": reservation["total_minor"]}
    wallet = page.execute("chargeWallet", [201], body=price, Idempotency_Key=secrets.token_hex(16)).json()
    page.check(wallet["balance_minor"] == seat["price_minor"], f"the wallet holds {wallet['balance_minor']}")
    page.execute("payReservation", [201], id=reservation["id"], Idempotency_Key=secrets.token_hex(16))
    paid = page.execute("readReservation", [200], id=reservation["id"]).json()
    page.check(paid["state"] == "paid", f"the reservation is {paid['state']}")

    [ticket] = page.execute("listTickets", [200]).json()["items"]
    ticket = page.execute("readTicket", [200], id=ticket["id"]).json()
    for member in ("section", "row", "number"):
        page.check(ticket[member] == seat[member], f"the ticket's {member} is {ticket[member]} and not {seat[member]}")
    page.execute("readTicketQr", [200], id=ticket["id"], format="png")
    see_picture(page, "readTicketQr")


def look_back(page):
    """What the browser has noted meanwhile."""
    for entry in page.driver.get_log("browser"):
        page.check(entry["level"] != "SEVERE", f"in the console: {entry['message'][:300]}")
    here = urlsplit(page.url).netloc
    for entry in page.driver.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] != "Network.requestWillBeSent":
            continue
        url = urlsplit(event["params"]["request"]["url"])
        elsewhere = url.scheme in ("http", "https", "ws", "wss") and url.netloc != here
        page.check(not elsewhere, f"the page asks another server: {url.geturl()[:200]}")


def start_browser(chromium, driver, profile):
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in [
        "--headless",
        # Chromium refuses its sandbox to root, and a container has none to give.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-features=HttpsUpgrades,HttpsFirstBalancedMode,HttpsFirstBalancedModeAutoEnable",
        # Nothing leaves this machine, whatever the page asks for.
        f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND",
        "--window-size=1400,1000",
        f"--user-data-dir={profile}",
    ]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True, help="of the server, on this machine")
    arguments.add_argument("--concert", required=True, help="title of a concert on sale")
    arguments.add_argument("--chromium", required=True)
    arguments.add_argument("--chromedriver", required=True)
    arguments.add_argument("--profile", required=True, help="an empty folder for the browser's files")
    arguments.add_argument("--screenshots", type=Path, help="a folder for pictures of every step")
    given = arguments.parse_args()
    if given.screenshots is not None:
        given.screenshots.mkdir(parents=True, exist_ok=True)

    # The browser ends with this program, also when it is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    driver = start_browser(given.chromium, given.chromedriver, given.profile)
    page = Page(driver, f"http://{HOST}:{given.port}/docs/", given.screenshots)
    try:
        walk(page, given.concert)
    except (Fault, WebDriverException, LookupError, TypeError, ValueError) as fault:
        page.check(False, f"the walk ended early: {fault!r}")
        page.shot("fault")
    finally:
        try:
            look_back(page)
        finally:
            driver.quit()
    if page.faults:
        sys.exit(f"The Swagger page has {len(page.faults)} faults (see above).")
    print("The Swagger page leads from sign-up to ticket.")


if __name__ == "__main__":
    main()
