# LinkFlow's work on this machine that takes a while: sh work.sh BASE FOLDER PART service|job
#
# It needs nobody to wait for it, and may be killed at any point: begun again, it looks at what is there, and goes on.
# The old release is stopped only when the new one answers; until then it is not touched.
set -u
umask 077
base=$1 dir=$2 target=$3 mode=$4
cd "$dir" || exit 1
# Sets: stack provider service host image network bind from to listens health project drain grace patience settle login_*
. "./$target/plan"
if [ -n "$host" ]; then
    export DOCKER_HOST="$host"
fi
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cur='' flavour=''
[ ! -e current ] || read -r cur <current

put() {
    printf '%s\n' "$2" | cat >"$1.new" && mv -f "$1.new" "$1"
}

under() {
    put state "$target under: $1" || give_up "the state cannot be written"
}

# Ends without success: what was begun is taken away again, what served goes on.
give_up() {
    if [ "$mode" = service ] && [ "$target" != "$cur" ]; then
        gone=$(rows | cut -d ' ' -f 1)
        # shellcheck disable=SC2086 # ids are words
        if [ -n "$gone" ]; then
            docker stop -t "$grace" $gone
            docker rm -f $gone
        fi
        rm -f "$target"/port.*
    fi
    rm -rf "$target/docker" "$target/login"
    if ! put state "$target failed
$1"; then
        # With a full disk a shorter text may fit in what the old one leaves.
        rm -f state.new work.log
        echo "$target failed" >state
        echo "$1" >>state
    fi
    sweep
    exit 1
}

nap() {
    sleep 0.5 2>/dev/null || sleep 1
}

# This part's containers: ID NUMBER STATE, one line each.
rows() {
    docker ps -a --no-trunc --filter "label=linkflow.stack=$stack" --filter "label=linkflow.provider=$provider" \
        --filter "label=linkflow.$mode=$service" --filter "label=linkflow.folder=$target" \
        --format '{{.ID}} {{.Label "linkflow.number"}} {{.State}}'
}

# The service's containers of other releases.
others() {
    docker ps --no-trunc --filter "label=linkflow.stack=$stack" --filter "label=linkflow.provider=$provider" \
        --filter "label=linkflow.service=$service" --format '{{.ID}} {{.Label "linkflow.folder"}}' "$@" |
        while read -r id folder; do
            [ "$folder" = "$target" ] || echo "$id"
        done
}

# Sets id and status of the instance $1.
find_row() {
    id='' status=none
    while read -r one number state; do
        if [ "$number" = "$1" ]; then
            id=$one status=$state
        fi
    done <<ROWS
$rows
ROWS
}

pull() {
    ! docker image inspect "$image" >/dev/null 2>&1 || return 0
    under "pulls $image"
    if [ -e "$target/login" ]; then
        # The configuration of the user of this machine stays as it is; what it says of the engine's place still holds.
        engine=${DOCKER_HOST:-$(docker context inspect -f '{{.Endpoints.docker.Host}}')}
        config=$dir/$target/docker
        mkdir -p "$config" || give_up "no folder for the login: $(df -P . | tail -n 1)"
        said=$(DOCKER_CONFIG=$config DOCKER_HOST=$engine docker login -u "$login_user" --password-stdin "$login_registry" <"$target/login" 2>&1) ||
            give_up "the login to $login_registry does not work: $said"
        rm -f "$target/login"
        said=$(DOCKER_CONFIG=$config DOCKER_HOST=$engine docker pull -q "$image" 2>&1) || give_up "cannot pull $image: $said"
        rm -rf "$config"
    else
        said=$(docker pull -q "$image" 2>&1) || give_up "cannot pull $image: $said"
    fi
}

# Which Compose there is: the plugin, or the program of its own that came before it.
compose_is() {
    if docker compose version >/dev/null 2>&1; then
        flavour=plugin
    elif command -v docker-compose >/dev/null; then
        flavour=program
    else
        give_up "Compose is not installed: on Debian \`apt-get install docker-compose\`"
    fi
}

# Has Compose make the container of the instance $1.
compose() {
    case $flavour in
        plugin) set -- docker compose -p "$project-$1" ;;
        program) set -- docker-compose -p "$project-$1" ;;
    esac
    "$@" -f "$target/compose.yml" -f "$target/env.yml" up --no-start --no-build 2>&1
}

taken() {
    ! grep -qsx "$1" "$base"/*/*/*/r*/port.* || return 0
    grep -qsi ":$(printf '%04X' "$1") [0-9A-F]*:0000 0A" /proc/net/tcp /proc/net/tcp6
}

# A port for the instance $1: the next one, so that none is soon used again for something else.
reserve() {
    (
        flock 8
        port=$((from + $$ % (to - from + 1)))
        [ ! -e "$base/port" ] || read -r port <"$base/port"
        tries=0
        while :; do
            port=$((port + 1)) tries=$((tries + 1))
            if [ "$port" -gt "$to" ] || [ "$port" -lt "$from" ]; then
                port=$from
            fi
            [ "$tries" -le $((to - from + 1)) ] || exit 1
            taken "$port" || break
        done
        put "$base/port" "$port" && put "$target/port.$1" "$port"
    ) 8>>"$base/ports.lock"
}

# Makes the container of the instance $1, and starts it unless $2 is 0. A port that is taken is left to who has it.
make() {
    [ -n "$flavour" ] || compose_is
    tries=0
    while :; do
        tries=$((tries + 1))
        LF_PORT=0 LF_NUMBER=$1
        if [ "$listens" != none ] || [ "$network" = host ]; then
            [ -e "$target/port.$1" ] || reserve "$1" || give_up "no port is free between $from and $to, or none can be written down: $(df -P "$base" | tail -n 1)"
            read -r LF_PORT <"$target/port.$1"
        fi
        export LF_PORT LF_NUMBER
        said=$(compose "$1") || give_up "Compose cannot make the container: $said"
        rows=$(rows)
        find_row "$1"
        [ -n "$id" ] || give_up "Compose made no container: $said"
        [ "$2" -gt 0 ] || return 0
        if said=$(docker start "$id" 2>&1); then
            return 0
        fi
        case $said in
            *"already allocated"* | *"address already in use"*) ;;
            *) give_up "the container cannot be started: $said" ;;
        esac
        [ "$tries" -lt 5 ] || give_up "the container cannot be started: $said"
        docker rm -f "$id" >/dev/null
        rm -f "$target/port.$1"
    done
}

# Whether the instance $1 answers as it should.
ready() {
    [ "$listens" != none ] || return 0
    read -r port <"$target/port.$1"
    case $bind in 0.0.0.0) at=127.0.0.1 ;; ::) at=::1 ;; *) at=$bind ;; esac
    case $listens in
        http)
            case $at in *:*) at="[$at]" ;; esac
            if command -v curl >/dev/null; then
                case $(curl -g -s -o /dev/null -m 5 -w '%{http_code}' "http://$at:$port$health") in 2*) return 0 ;; *) return 1 ;; esac
            elif command -v wget >/dev/null; then
                wget -q -T 5 -O /dev/null "http://$at:$port$health"
            else
                opens "$at" "$port"
            fi
            ;;
        tcp) opens "$at" "$port" ;;
    esac
}

# Whether a connection stays open. Docker's own proxy accepts always, and hangs up when nobody listens behind it.
opens() {
    command -v bash >/dev/null || return 0
    # shellcheck disable=SC2016 # it is bash's to expand
    bash -c 'exec 3<>"/dev/tcp/$0/$1" || exit 1; read -r -t 0.3 -n 1 -u 3; r=$?; [ $r -eq 0 ] || [ $r -gt 128 ]' "$1" "$2" 2>/dev/null
}

# The code and the last words of the container $1.
last_words() {
    echo "it ended with code $(docker inspect -f '{{.State.ExitCode}}' "$1")"
    docker logs --tail 10 "$1" 2>&1
}

# Looks once at each instance that is wanted; starts what is missing or has ended. Sets all: whether all answer.
tend() {
    rows=$(rows) || give_up "the containers cannot be listed"
    all=yes
    i=0
    while [ "$i" -lt "$count" ]; do
        i=$((i + 1))
        find_row "$i"
        case $status in
            running) ready "$i" || all=no ;;
            none)
                under "starts instance $i"
                make "$i" 1
                all=no calm=0
                ;;
            *)
                # As long as it does not serve, Docker does not start it again by itself.
                if [ "$target" != "$cur" ] && [ "$status" != created ]; then
                    ends=$((ends + 1))
                    [ "$ends" -lt 3 ] || give_up "instance $i does not stay up: $(last_words "$id")"
                fi
                if [ "$status" != restarting ] && ! said=$(docker start "$id" 2>&1); then
                    # Its port was taken while it did not run.
                    docker rm -f "$id" >/dev/null
                    rm -f "$target/port.$i"
                fi
                all=no calm=0
                ;;
        esac
    done
}

# Takes away instances beyond the $1 that are wanted; the first one is kept, so that it can be started.
shrink() {
    surplus=''
    while read -r id number state; do
        if [ -n "$id" ] && [ "$number" -gt "$1" ]; then
            if [ "$number" -gt 1 ]; then
                surplus="$surplus $id"
                rm -f "$target/port.$number"
            elif [ "$state" != created ] && [ "$state" != exited ]; then
                docker stop -t "$grace" "$id" >/dev/null
            fi
        fi
    done <<ROWS
$rows
ROWS
    # shellcheck disable=SC2086 # ids are words
    if [ -n "$surplus" ]; then
        docker stop -t "$grace" $surplus >/dev/null
        docker rm -f $surplus >/dev/null
    fi
}

# Runs as many instances as are wanted, and waits until they answer.
settle() {
    ends=0 calm=0 left=$((patience * 2))
    while :; do
        read -r count <"$target/replicas"
        if [ "$count" -eq 0 ]; then
            rows=$(rows) || give_up "the containers cannot be listed"
            find_row 1
            [ -n "$id" ] || make 1 0
            rows=$(rows)
            shrink 0
            return
        fi
        tend
        [ "$all" = no ] || calm=$((calm + 1))
        if [ "$all" = yes ] && { [ "$listens" != none ] || [ "$calm" -gt $((settle * 2)) ]; }; then
            shrink "$count"
            return
        fi
        under "waits until $count of $service answer"
        left=$((left - 1))
        [ "$left" -gt 0 ] || give_up "it does not answer after $patience s; its last words: $(docker logs --tail 10 "$id" 2>&1)"
        nap
    done
}

# From here on visitors go to this release; the other one gets time to finish what it has begun.
serve() {
    mine=$(rows | cut -d ' ' -f 1)
    # shellcheck disable=SC2086 # ids are words
    docker update --restart unless-stopped $mine >/dev/null || give_up "Docker cannot be told to keep the containers up"
    old=$(others -a)
    if [ -n "$old" ] && [ "$count" -eq 0 ]; then
        retire
        old=''
    fi
    put current "$target" || give_up "the release cannot be made the current one"
    # shellcheck disable=SC2086 # ids are words
    [ -z "$old" ] || docker update --restart no $old >/dev/null
    put state "$target done"
    if [ -n "$old" ]; then
        [ -z "$(others)" ] || sleep "$drain"
        retire
    fi
}

retire() {
    # shellcheck disable=SC2086 # ids are words
    {
        docker stop -t "$grace" $old >/dev/null
        docker rm -f $old >/dev/null
    }
    for folder in r*/; do
        [ "${folder%/}" = "$target" ] || rm -f "$folder"port.*
    done
}

# Keeps three releases, this one and the newest others, and no image that none of what is kept uses.
sweep() {
    [ "$mode" = service ] || return 0
    kept=1 now=''
    [ ! -e current ] || read -r now <current
    for name in $(ls | grep '^r[0-9]' | sort -k 1.2nr); do
        [ "$name" != "$target" ] || continue
        kept=$((kept + 1))
        if [ "$kept" -gt 3 ] && [ "$name" != "$now" ]; then
            read -r gone <"$name/image"
            rm -rf "./$name"
            grep -qsxF "$gone" "$base"/*/*/*/r*/image "$base"/*/*/.jobs/*/run/image || docker rmi "$gone" >/dev/null 2>&1
        fi
    done
}

count=1
pull
if [ "$mode" = service ]; then
    settle
    serve
    sweep
else
    make 1 0
    case $status in created) said=$(docker start "$id" 2>&1) || give_up "the container cannot be started: $said" ;; esac
    put state "$target done"
fi
