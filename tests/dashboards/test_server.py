"""Serving: busy ports, who is let in, and what every answer says."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading

import pytest
from plotly.utils import PlotlyJSONEncoder

from dashboards import Server
from dashboards.pages import PAGES, Query
from gradlab.errors import GradlabError


@pytest.fixture
def server(store_path):
    with Server(str(store_path), port=0) as running:
        yield running


def ask(server: Server, path: str = "/", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    answer.body = answer.read().decode()
    connection.close()
    return answer


def test_the_page_is_there_without_a_store(server):
    answer = ask(server)
    assert answer.status == 200
    assert "gradlab" in answer.body


@pytest.mark.parametrize("path", ["/", "/_dash-layout", "/_dash-dependencies"])
def test_another_host_name_is_refused(server, path):
    assert ask(server, path, Host="evil.example").status == 400
    assert ask(server, path, Host=f"localhost:{server.port}").status == 200


def test_another_origin_is_refused(server):
    assert ask(server, "/_dash-layout", Origin="http://evil.example").status == 403
    assert ask(server, "/_dash-layout", Origin=f"http://127.0.0.1:{server.port}").status == 200


def test_every_answer_has_the_headers_that_keep_pages_apart(server):
    answer = ask(server, "/_dash-layout")
    policy = answer.getheader("Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    script = re.search(r"script-src ([^;]*)", policy).group(1)
    assert "unsafe" not in script
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("X-Frame-Options") == "DENY"


def test_the_page_names_nothing_outside_this_machine(server):
    addresses = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", ask(server).body)
    assert addresses
    assert all(address.startswith("/") for address in addresses)


def graphs(node) -> list:
    """The configurations of all graphs below a component."""
    if isinstance(node, dict):
        here = [node["props"]["config"]] if node.get("type") == "Graph" else []
        return here + [one for value in node.values() for one in graphs(value)]
    return [one for value in node for one in graphs(value)] if isinstance(node, list) else []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path or "overview")
def test_no_graph_offers_to_upload(page):
    layout = json.loads(json.dumps(page.layout(Query()), cls=PlotlyJSONEncoder))
    found = graphs(layout)
    assert found or page.path == "run"
    assert all(config["showSendToCloud"] is False and config["displaylogo"] is False for config in found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path or "overview")
def test_every_page_has_an_address_of_its_own(server, page):
    answer = ask(server, f"/{page.path}?run=1&step=<script>")
    assert answer.status == 200
    assert "step=" not in answer.body


def test_a_busy_port_is_said_with_a_free_one(store_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(GradlabError, match=rf"port {port}: is in use .* give --port (\d+)") as error:
            Server(str(store_path), port=port)
    free = int(re.search(r"give --port (\d+)", str(error.value)).group(1))
    assert free != port
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("host", "port", "words"), [("127.0.0.1", 99_999, "is not a port"), ("192.0.2.1", 0, "host")])
def test_addresses_that_cannot_be(store_path, host, port, words):
    with pytest.raises(GradlabError, match=words):
        Server(str(store_path), host=host, port=port)


def test_stopping_frees_the_port_and_ends_the_thread(store_path):
    server = Server(str(store_path), port=0)
    server.start()
    assert ask(server).status == 200
    server.stop()
    server.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "gradlab-dashboard"]
    again = Server(str(store_path), port=server.port)
    again.stop()


def test_other_machines_need_the_token_once_and_a_cookie_from_then_on(store_path):
    with Server(str(store_path), host="0.0.0.0", port=0) as server:
        assert ask(server).status == 401
        assert ask(server, "/?token=wrong").status == 401
        path = server.url.removeprefix(f"http://0.0.0.0:{server.port}")
        admitted = ask(server, path)
        assert admitted.status == 302
        cookie = admitted.getheader("Set-Cookie")
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert ask(server, path).status == 401
        assert ask(server, Cookie=cookie.split(";")[0]).status == 200


def test_a_server_stops_though_its_loop_is_ahead_of_it(store_path, monkeypatch):
    server = Server(str(store_path), port=0)
    server.start()
    thread, trigger = server._thread, server._server.trigger
    pull = trigger._physical_pull

    def late() -> None:
        # A worker's pull wakes the loop, which also does what it was to be woken for next.
        pull()
        thread.join(timeout=5)
        pull()

    monkeypatch.setattr(trigger, "_physical_pull", late)
    server.stop()
    assert not thread.is_alive()
    with socket.socket() as again:
        again.bind(("127.0.0.1", server.port))
