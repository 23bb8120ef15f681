"""A Ray cluster of several nodes on this machine, each standing for a kind of host.

It prints its address, and then obeys lines on standard input: `kill KIND`, `add KIND`; it ends with
its input. A process of its own, since Ray starts threads and files that the tests' rules forbid.
"""

import os
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


def main(kinds: list[str]) -> None:
    """Run until standard input ends."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)

    def add(kind: str) -> object:
        return cluster.add_node(num_cpus=1, resources={kind: 1})

    nodes = {kind: add(kind) for kind in kinds}
    cluster.wait_for_nodes()
    print(f"address {cluster.address}", flush=True)
    for line in sys.stdin:
        what, kind = line.split()
        if what == "kill":
            cluster.remove_node(nodes[kind], allow_graceful=False)
        else:
            nodes[kind] = add(kind)
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
