"""Does a web server that scores uploads in eight threads say what one thread says, and does its memory stay the same?

    pip install fastapi uvicorn httpx
    python benchmarks/serving.py data/photos --requests 800

A FastAPI application takes the bytes of a picture and answers with both scores; uvicorn serves it in a process of its own.
Eight threads post pictures in a random order. Each answer is compared with the same function called in this process, one
picture after the other. The server's memory is read after the first quarter of the requests and after the last.
"""

import random
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from iqa.commands.terminal import parser_of, positive, run
from iqa.errors import ImageError
from iqa.images.finding import list_images
from iqa.scoring.runtimes import RUNTIMES
from iqa.scoring.scorer import load_scorer


def judge(content: bytes, runtime: str) -> dict[str, Any]:
    """Both answers for the bytes of a picture; what cannot be scored is an answer as well."""
    beauty, technical = (
        load_scorer("ava_vanilla", head="histogram", runtime=runtime),
        load_scorer("tid2013_regression", runtime=runtime),
    )
    try:
        score = beauty.distribution(content)
        return {"mean": score.mean, "percentile": score.percentile, "technical": technical.score(content).score}
    except ImageError as error:
        return {"error": str(error)}


def serve(port: int, runtime: str) -> None:
    import uvicorn
    from fastapi import Body, FastAPI

    application = FastAPI()

    @application.post("/")
    def answer(content: bytes = Body(media_type="application/octet-stream")) -> dict[str, Any]:  # in one of 40 threads
        return judge(content, runtime)

    uvicorn.run(application, port=port, log_level="warning")


def read_memory(process: int) -> float:
    """The resident memory of a process, in MiB."""
    (line,) = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--requests", type=positive, default=800)
    parser.add_argument("--pictures", type=positive, default=100)
    parser.add_argument("--threads", type=positive, default=8)
    parser.add_argument("--runtime", choices=RUNTIMES, default="auto")
    parser.add_argument("--serve", type=int, metavar="PORT", help="be the server")
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.runtime)
        return 0
    if not arguments.folder:
        parser.error("name a folder of pictures")
    import httpx

    contents = [path.read_bytes() for path in list_images(arguments.folder)[: arguments.pictures]]
    contents += [contents[0][: len(contents[0]) // 3], b"no picture"]
    began = time.perf_counter()
    expected = [judge(content, arguments.runtime) for content in contents]
    alone = len(contents) / (time.perf_counter() - began)
    orders = random.Random(0).choices(range(len(contents)), k=arguments.requests)
    port = free_port()
    command = [sys.executable, __file__, "--serve", str(port), "--runtime", arguments.runtime]
    with subprocess.Popen(command) as server, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
        try:
            while server.poll() is None:
                try:
                    client.post("/", content=b"are you there")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            began, wrong, memory = time.perf_counter(), 0, []
            with ThreadPoolExecutor(arguments.threads) as pool:
                answers = pool.map(lambda number: client.post("/", content=contents[number]).json(), orders)
                for done, (number, answer) in enumerate(zip(orders, answers, strict=True), start=1):
                    wrong += answer != expected[number]
                    if done in (arguments.requests // 4, arguments.requests):
                        memory.append(read_memory(server.pid))
            served = arguments.requests / (time.perf_counter() - began)
        finally:
            server.terminate()
    refused = sum("error" in expected[number] for number in orders)
    print(f"{arguments.requests} requests in {arguments.threads} threads, {refused} of them refused")
    print(f"answers that differ from those of one thread: {wrong}")
    print(f"{served:.1f} requests/s; one thread without a server {alone:.1f} pictures/s; ratio {served / alone:.2f}")
    print(f"the server's memory: {memory[0]:.0f} MiB after a quarter, {memory[-1]:.0f} MiB at the end")
    return 1 if wrong else 0


if __name__ == "__main__":
    run(main)
