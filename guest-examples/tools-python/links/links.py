"""Looks at pages of the web: which status they answer with, and where they lead.

Plain `wasi:http` through the bindings that componentize-py generates from the WIT; nothing here knows ambit. A module that is
not imported while the component is built is not in it.
"""

import codecs
import encodings.cp1252
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin, urlsplit

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import outgoing_handler
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import (
    Fields,
    IncomingResponse,
    Method,
    Method_Get,
    Method_Head,
    OutgoingRequest,
    Scheme,
    Scheme_Http,
    Scheme_Https,
)

SCHEMES: dict[str, Scheme] = {"http": Scheme_Http(), "https": Scheme_Https()}

# What pages call their encodings, as far as the component holds a decoder. The web reads Latin 1 as windows-1252
# (WHATWG Encoding Standard, section 4.2).
ENCODINGS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "cp1252",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "windows-1252": "cp1252",
}

LONGEST_PAGE = 4 << 20
PIECE = 64 << 10


class Links(exports.Links):
    """The exported interface."""

    def status(self, url: str) -> int:
        with answer(Method_Head(), url) as response:
            return response.status()

    def links(self, url: str) -> list[str]:
        with answer(Method_Get(), url) as response:
            if not 200 <= response.status() < 300:
                raise Err(f"the server answered with the status {response.status()}")
            page = text(response)
        anchors = Anchors(url)
        anchors.feed(page)
        anchors.close()
        return list(anchors.found)


class Anchors(HTMLParser):
    """Collects where the anchors of a page lead."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.base = url
        # A dictionary is a set with an order.
        self.found: dict[str, None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        target = dict(attrs).get("href")
        if target is None:
            return
        try:
            if tag == "base":
                self.base = urljoin(self.base, target)
            elif tag in ("a", "area"):
                link = urldefrag(urljoin(self.base, target.strip())).url
                if urlsplit(link).scheme in SCHEMES:
                    self.found[link] = None
        except ValueError:
            # The page's author has written something that is no URL: it leads nowhere.
            return


def answer(method: Method, url: str) -> IncomingResponse:
    """Sends a request without a body, and waits for the response."""
    # No `contextlib.contextmanager` here: it writes to the exceptions that pass it, and `Err` is frozen.
    with outgoing_handler.handle(request(method, url), None) as future:
        with future.subscribe() as ready:
            ready.block()
        match future.get():
            case Ok(Ok(response)):
                return response
            case Ok(Err(code)):
                raise Err(named(code))
            case other:
                raise Err(f"no response: {other}")


def request(method: Method, url: str) -> OutgoingRequest:
    """A request to a URL."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise Err(f"`{url}` is no URL: {error}") from error
    if parts.scheme not in SCHEMES:
        raise Err(f"`{url}` is no URL of the web")
    built = OutgoingRequest(Fields())
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        built.set_method(method)
        built.set_scheme(SCHEMES[parts.scheme])
        built.set_authority(parts.netloc)
        built.set_path_with_query(path)
    except Err as error:
        raise Err(f"`{url}` is no URL that can be asked for") from error
    return built


def text(response: IncomingResponse) -> str:
    """The body of an HTML page."""
    with response.headers() as headers:
        kind = b"".join(headers.get("content-type")[:1]).decode("ascii", "replace").lower()
    essence, _, parameters = kind.partition(";")
    if essence.strip() not in ("text/html", "application/xhtml+xml"):
        raise Err(f"the page is `{essence.strip()}`, and no HTML")
    charset = parameters.partition("charset=")[2].split(";")[0].strip(" \"'") or "utf-8"
    if charset not in ENCODINGS:
        raise Err(f"the page is in the encoding `{charset}`, which this tool cannot read")
    return codecs.decode(body(response), ENCODINGS[charset], "replace")


def body(response: IncomingResponse) -> bytes:
    """What the server sent, up to `LONGEST_PAGE`."""
    read = bytearray()
    with response.consume() as incoming, incoming.stream() as stream:
        while len(read) < LONGEST_PAGE:
            try:
                read += stream.blocking_read(PIECE)
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    break
                with error.value.value as cause:
                    raise Err(f"the page ended early: {cause.to_debug_string()}") from error
    return bytes(read[:LONGEST_PAGE])


def named(code: object) -> str:
    """The name of a `wasi:http` error: `HttpRequestDenied`."""
    return type(code).__name__.removeprefix("ErrorCode_")
