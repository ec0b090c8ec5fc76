"""What programs print of a connection that failed."""

import pytest

from host.app.dependencies.network_failures import explain_network_failure, find_network_failure


@pytest.mark.parametrize(
    ("output", "host"),
    [
        ("npm error network request to https://registry.npmjs.org/x failed, reason: getaddrinfo "
         "ENOTFOUND registry.npmjs.org", "registry.npmjs.org"),
        ("HTTPSConnectionPool(host='pypi.org', port=443): Max retries exceeded: Failed to establish"
         " a new connection: [Errno -3] Temporary failure in name resolution", "pypi.org"),
        ("error: Failed to fetch: `https://pypi.org/simple/x/`\n  Caused by: dns error: failed to "
         "lookup address information: Name or service not known", ""),
        ("dial tcp: lookup proxy.golang.org on 10.0.0.1:53: no such host", "proxy.golang.org"),
        ("Could not reach host index.rubygems.org. Check your network", "index.rubygems.org"),
        ("curl: (6) Could not resolve host: getcomposer.org", "getcomposer.org"),
        ("connect ETIMEDOUT 104.16.0.1:443", ""),
        ("an ordinary compile error", None),
        ("connect ECONNREFUSED 127.0.0.1:5432", None),
    ],
)  # fmt: skip
def test_a_failed_connection_is_recognized_with_its_host(output, host):
    assert find_network_failure(output) == host
    assert ("network is a cause" in explain_network_failure(output)) == (host is not None)


@pytest.mark.parametrize(
    "output",
    [
        "next/font: error:\nFailed to fetch `Geist` from Google Fonts.",
        "There was an issue establishing a connection while requesting "
        "https://fonts.googleapis.com/css2?family=Geist:wght@100..900&display=swap",
        "FetchError: request to https://fonts.gstatic.com/s/geist failed, reason: getaddrinfo "
        "EAI_AGAIN fonts.gstatic.com",
    ],
)
def test_google_fonts_without_a_network_have_a_remedy_of_their_own(output):
    assert "next/font/local" in explain_network_failure(output)
