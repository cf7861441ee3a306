"""The container's health check: exit 0 when `/health` answers 200, else 1 with what it said."""

import http.client
import sys


def main() -> int:
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=2.5)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        print(answer.read().decode())
        return 0 if answer.status == 200 else 1
    except OSError as error:
        print(f"no answer on port 8000: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
