"""
Read pages of the web: `python -m lab.web`, with a job as the first line of standard input.

Writes what comes of each address to standard output as soon as it is known, one object of JSON a
line. What it reads may be made to do harm, so it first gives up memory and files; it ends when its
standard input does, as it does when its parent is gone.
"""

import logging
import os
import resource
import sys
from asyncio import get_event_loop
from typing import Any

from scrapy.crawler import AsyncCrawlerProcess

from lab.web.guard import Guard
from lab.web.guarding import GUARD, Checked, CheckedResolver, GuardMiddleware
from lab.web.records import END, Job, job_of, line_of
from lab.web.spider import PageSpider
from lab.web.urls import LONGEST

MAX_MEMORY_BYTES = 2 * 2**30
MAX_FILE_BYTES = 2**20
"""Of what it complains about."""
PARENT_GONE = 3
LEAST_DELAY_S = 0.001
"""Without any, Scrapy 2.19 sends what waits for a host before it counts what is under way."""


def main() -> int:
    """Read pages until nothing is left to read."""
    job = job_of(sys.stdin.buffer.readline())
    _give_up()
    answers = sys.stdout.buffer
    sys.stdout = sys.stderr  # for whatever else prints
    logging.disable()  # each page has its outcome; only what ends this process is complained about
    process = AsyncCrawlerProcess(settings_of(job))
    get_event_loop().add_reader(sys.stdin.fileno(), os._exit, PARENT_GONE)

    def write(line: bytes) -> None:
        answers.write(line)
        answers.flush()

    process.crawl(PageSpider, job=job, tell=lambda outcome: write(line_of(outcome)))
    process.start(install_signal_handlers=False)
    write(END)
    return 0


def settings_of(job: Job) -> dict[str, Any]:
    """Return Scrapy's settings for a job."""
    pages, web = job.pages, job.web
    checked = Checked(Guard(web.allowed))
    return {
        GUARD: lambda: checked,
        "TWISTED_DNS_RESOLVER": CheckedResolver,
        "DNSCACHE_ENABLED": False,
        "DOWNLOADER_MIDDLEWARES": {GuardMiddleware: 50},  # before robots.txt is asked for
        "DOWNLOAD_HANDLERS": dict.fromkeys(("data", "file", "ftp", "s3")),
        "DOWNLOAD_VERIFY_CERTIFICATES": True,
        "HTTPPROXY_ENABLED": False,
        "USER_AGENT": pages.user_agent,
        "ROBOTSTXT_OBEY": pages.obey_robots,
        "CONCURRENT_REQUESTS": pages.concurrency,
        "CONCURRENT_REQUESTS_PER_DOMAIN": pages.host_concurrency,
        "DOWNLOAD_DELAY": max(pages.host_delay_s, LEAST_DELAY_S),
        "RANDOMIZE_DOWNLOAD_DELAY": False,
        "DOWNLOAD_TIMEOUT": web.timeout_s,
        "DOWNLOAD_MAXSIZE": web.max_bytes,
        "DOWNLOAD_WARNSIZE": 0,
        "REDIRECT_MAX_TIMES": web.max_redirects,
        "REDIRECT_ENABLED": web.max_redirects > 0,
        "METAREFRESH_ENABLED": web.max_redirects > 0,
        "RETRY_ENABLED": False,
        "HTTPERROR_ALLOW_ALL": True,  # a status is an outcome
        "URLLENGTH_LIMIT": LONGEST,
        "DEPTH_LIMIT": job.max_depth,
        # The pages that are nearest to where it begins come first.
        "DEPTH_PRIORITY": 1,
        "SCHEDULER_DISK_QUEUE": "scrapy.squeues.PickleFifoDiskQueue",
        "SCHEDULER_MEMORY_QUEUE": "scrapy.squeues.FifoMemoryQueue",
        # Cookies need a list of public suffixes, which would be fetched without the guard.
        "COOKIES_ENABLED": False,
        # None of Scrapy's extensions, one of which runs what is sent to a port of this machine.
        "EXTENSIONS_BASE": {},
        "LOG_ENABLED": False,
        "LOG_INSTALL_ROOT_HANDLER": False,
    }


def _give_up() -> None:
    for what, most in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))


if __name__ == "__main__":
    sys.exit(main())
