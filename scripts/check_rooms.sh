#!/usr/bin/env bash
# Includes go only downwards in the list of rooms (docs/overview.md). Prints what breaks the rule.
set -euo pipefail
cd "$(dirname "$0")/.."

rooms=(core config data model attack train explain eval report cli)
declare -A rank
for i in "${!rooms[@]}"; do rank[${rooms[$i]}]=$i; done

broken=0
while IFS=: read -r file line text; do
  from=${file#src/flipside/}; from=${from%%/*}
  to=${text#*\"flipside/}; to=${to%%/*}
  if [ -z "${rank[$to]:-}" ] || [ "${rank[$from]}" -lt "${rank[$to]}" ]; then
    echo "$file:$line: room $from must not include room $to"
    broken=1
  fi
done < <(grep -rnE '#include "flipside/' src/flipside --include='*.h' --include='*.cpp')
[ "$broken" -eq 0 ] && echo "rooms: every include goes downwards"
exit "$broken"
