"""How each kind of figure is measured, in plain words."""

METHODS = {
    "speed": (
        "Speed relative to the baseline",
        "A call of the cell and a call of the baseline are timed alternately in one loop, so that "
        "a change of the machine meets both. The figure is the median of the ratios of the pairs, "
        "with a 99 % interval. 2 means twice as fast as the baseline.",
    ),
    "latency": (
        "Latency",
        "The time of each single call of recommend(user, sequence, k = 10), after a warm-up. p50 "
        "is the time that half of the calls do not exceed; p95 and p99 are the same for 95 % and "
        "99 % of the calls. Each has a 99 % interval that assumes nothing about the distribution. "
        "Where there were too few calls for a percentile, it is left out.",
    ),
    "throughput": (
        "Throughput",
        "Sequences a second, one call after the other, at each batch size; and over the histories "
        "of real users in batches of 64.",
    ),
    "concurrency": (
        "Sessions side by side",
        "Several sessions in one process each work on calls of their own at the same time. The "
        "figure is their throughput together, divided by that of one session in the same loop. "
        "For two sessions, 2 is perfect and 1 means that nothing is gained.",
    ),
    "accuracy": (
        "Accuracy",
        "NDCG@10 of each user's last item among all items of the catalog, and its change from the "
        "baseline's for the same users. Intervals of 95 % by bootstrap over users.",
    ),
    "memory": (
        "Memory and cold start",
        "A fresh process imports what it needs, loads the model and answers once; the median of "
        "three such processes. The memory is the peak of the process.",
    ),
    "size": ("Size", "The bytes of the model file, with the files that it names."),
    "servers": (
        "Servers",
        "Load generators in processes of their own send requests over the loopback interface, on "
        "the same CPUs as the server. Two servers, or two models, are loaded alternately, and the "
        "figure is the ratio of their throughputs.",
    ),
    "scale": (
        "Cost as the work grows",
        "Models with random weights of each size are timed in pairs with the baseline. The lower "
        "bound is the larger of two times: to read the weights from memory once, and to do the "
        "multiplications, both at the rates that were measured on the machine.",
    ),
}
