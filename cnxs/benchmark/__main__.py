"""Time what the program promises: `python -m cnxs.benchmark`, with `--full-size` on models of the true size."""

import argparse

import torch

from cnxs import text
from cnxs.backend import Engine
from cnxs.benchmark import counting, full_size, miniature, program
from cnxs.benchmark.random_models import PUBLISHED
from cnxs.devices import choose_device, choose_dtype, device_name, peak_bytes
from cnxs.weights import Library


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m cnxs.benchmark", description=text.get("cli.benchmark"))
    add = parser.add_argument
    add("--full-size", nargs="*", choices=tuple(PUBLISHED), help=text.get("cli.benchmark_full_size"))
    add("--arms", nargs="+", choices=full_size.ARMS, default=full_size.ARMS, help=text.get("cli.benchmark_arms"))
    add("--no-images", action="store_true", help=text.get("cli.benchmark_no_images"))
    add("--strip", action="store_true", help=text.get("cli.benchmark_strip"))
    add("--counts", action="store_true", help=text.get("cli.benchmark_counts"))
    add("--rounds", type=int, default=7, help=text.get("cli.benchmark_rounds"))
    add("--history", type=int, metavar="N", help=text.get("cli.benchmark_history"))
    add("--device", default="auto", help=text.get("cli.app_device"))
    add("--dtype", default="auto", help=text.get("cli.app_dtype"))
    add("--threads", type=int, default=0, help=text.get("cli.app_threads"))
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    dtype = choose_dtype(device, options.dtype)
    where = f"{device_name(device)}, {str(dtype).removeprefix('torch.')}"
    print(f"{where}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}, {options.rounds} rounds")
    if options.history:
        program.history(options.history)
    elif options.counts:
        counting.report_counts()
    elif options.full_size is not None:
        for name in options.full_size or PUBLISHED:
            full_size.steps(name, options.arms, device=device, dtype=dtype, rounds=options.rounds)
            if not options.no_images:
                full_size.images(name, device=device, dtype=dtype, strip=options.strip)
    else:
        _everyday(device, dtype, options)
    print(f"\nPeak memory {peak_bytes() / 2**30:.2f} GiB")
    if device.type == "cuda":
        print(f"Peak memory of the GPU {peak_bytes(device) / 2**30:.2f} GiB")


def _everyday(device: torch.device, dtype: torch.dtype, options: argparse.Namespace) -> None:
    engine = Engine(device, Library(), dtype=dtype, threads=options.threads)
    miniature.miniature_step(engine, rounds=10 * options.rounds)
    miniature.generation(engine, rounds=options.rounds)
    miniature.map_preview(rounds=options.rounds)
    program.start_up()


if __name__ == "__main__":
    main()
