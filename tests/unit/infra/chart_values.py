"""Values of the chart: a matrix of what it must make sense of, and what it must refuse, with a word of the reason."""

from copy import deepcopy

from tests.helm import Values

BASE: Values = {"secret": {"existing": "retint"}, "portal": {"trustedProxies": "10.0.0.0/8"}}
MADE: Values = {
    "databaseUrl": "postgresql+psycopg://retint:x@db/retint",
    "brokerUrl": "redis://valkey:6379/0",
    "secret": "s" * 32,
    "metricsToken": "m" * 16,
    "s3Key": "key",
    "s3Secret": "secret",
}
WITHOUT_KEYS = {name: value for name, value in MADE.items() if not name.startswith("s3")}
MONITORING = {"serviceMonitor": True, "rules": True, "dashboards": True, "labels": {"release": "p"}}
MATRIX: dict[str, Values] = {
    "plain": {},
    "secret of the chart": {"secret": {"existing": "", "values": MADE}},
    "keda": {"keda": {"enabled": True}},
    "keda by prometheus": {
        "keda": {"enabled": True, "source": "prometheus", "prometheusAddress": "http://prometheus:9090"}
    },
    "scale to nothing": {"keda": {"enabled": True}, "workers": {"cpu": {"least": 0}, "gpu": {"least": 0}}},
    "no gpu": {"workers": {"gpu": {"resource": "", "tolerations": []}}},
    "a slice of a gpu": {
        "workers": {
            "gpu": {
                "resource": "nvidia.com/mig-1g.18gb",
                "runtimeClassName": "nvidia",
                "nodeSelector": {"gpu": "h200"},
                "shm": "2Gi",
            }
        }
    },
    "no gpu workers at all": {"workers": {"gpu": {"replicas": 0, "most": 0}}, "keda": {"enabled": True}},
    "ingress": {"portal": {"ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls"}}},
    "weights on a volume": {"weights": {"existingClaim": "weights"}},
    "weights fetched": {"weights": {"fetch": ["artistic", "ddcolor"]}},
    "access without keys": {
        "secret": {"existing": "", "values": WITHOUT_KEYS},
        "store": {"keys": False, "endpoint": "https://s3.example"},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/retint"}},
    },
    "monitoring": {"monitoring": MONITORING},
    "no policies": {"network": {"enabled": False}, "disruption": {"enabled": False}},
    "closed network": {
        "network": {
            "ingressNamespace": {"kubernetes.io/metadata.name": "ingress"},
            "egress": {"database": {"ports": [5432], "to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]}},
        },
        "keda": {"enabled": True},
        "monitoring": {"serviceMonitor": True},
    },
    "one of each": {"portal": {"replicas": 1}, "dispatcher": {"replicas": 1}},
    "own registry": {"images": {"registry": "registry.example/r", "tag": "1.2.3", "pullSecrets": ["pull"]}},
    "further settings": {"settings": {"RETINT_UPLOAD_LIMIT_MIB": "8192", "OMP_NUM_THREADS": "2"}},
}
REFUSED: dict[str, tuple[Values, str]] = {
    "no secret": ({"secret": {"existing": ""}}, "There are no secrets"),
    "two secrets": ({"secret": {"values": MADE}}, "both set"),
    "keys without values": ({"secret": {"existing": "", "values": WITHOUT_KEYS}}, "has no s3Key"),
    "a short secret": ({"secret": {"existing": "", "values": MADE | {"secret": "short"}}}, "minLength"),
    "half a secret": ({"secret": {"existing": "", "values": {"secret": "s" * 32}}}, "missing properties"),
    "two sources of weights": ({"weights": {"existingClaim": "w", "fetch": ["artistic"]}}, "one of the two"),
    "least above most": ({"workers": {"gpu": {"least": 5, "most": 4}}}, "larger than workers.gpu.most"),
    "replicas above most": ({"workers": {"cpu": {"replicas": 9}}}, "larger than workers.cpu.most"),
    "no address of prometheus": ({"keda": {"enabled": True, "source": "prometheus"}}, "prometheusAddress is empty"),
    "a certificate without https": (
        {"publicUrl": "http://a.example", "portal": {"ingress": {"enabled": True, "tlsSecret": "tls"}}},
        "https address",
    ),
    "an unknown proxy": ({"portal": {"trustedProxies": "", "ingress": {"enabled": True}}}, "trustedProxies is empty"),
    "a slip": ({"worker": {}}, "additional properties"),
    "a slip inside": ({"workers": {"gpu": {"replica": 1}}}, "additional properties"),
    "no memory limit": ({"portal": {"resources": {"limits": {"memory": None}}}}, "missing property 'memory'"),
    "a setting that the chart sets": ({"settings": {"RETINT_FLEET_DRIVER": "up"}}, "RETINT_FLEET_DRIVER"),
    "a path in the address": ({"publicUrl": "https://a.example/retint"}, "publicUrl"),
    "no portal": ({"portal": {"replicas": 0}}, "minimum"),
    "too little time": ({"workers": {"cpu": {"graceS": 10}}}, "minimum"),
}


def merge(first: Values, second: Values) -> Values:
    """Merge values as Helm does: objects name by name, everything else as a whole."""
    merged = deepcopy(first)
    for name, value in second.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both else value
    return merged
