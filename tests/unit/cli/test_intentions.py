"""What was observed becomes the least intentions."""

from sidecar.cli.intentions import _counted, entry

METRICS = r"""
# TYPE sidecar_candidate_refusals_total counter
sidecar_candidate_refusals_total{source="web",method="/shop.v1.Orders/Get"} 12
sidecar_candidate_refusals_total{source="web",method="GET"} 3
sidecar_candidate_refusals_total{source="a\"b",method="tcp"} 1
sidecar_exchanges_active 0
"""


def test_counts_are_read_with_their_labels() -> None:
    assert list(_counted(METRICS)) == [("web", "/shop.v1.Orders/Get"), ("web", "GET"), ('a"b', "tcp")]


def test_each_caller_may_what_it_did_and_nobody_anything_else() -> None:
    calls = {("web", "/shop.v1.Orders/Get"), ("web", "GET"), ("web", "PUT"), ("batch", "tcp"), ("others", "others")}
    assert entry("orders", calls) == {
        "Kind": "service-intentions",
        "Name": "orders",
        "Sources": [
            {"Name": "batch", "Action": "allow"},
            {
                "Name": "web",
                "Permissions": [
                    {"Action": "allow", "HTTP": {"PathExact": "/shop.v1.Orders/Get", "Methods": ["POST"]}},
                    {"Action": "allow", "HTTP": {"PathPrefix": "/", "Methods": ["GET", "PUT"]}},
                    {"Action": "deny", "HTTP": {"PathPrefix": "/"}},
                ],
            },
            {"Name": "*", "Action": "deny"},
        ],
    }
