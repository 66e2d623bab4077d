# Makes a branch hold the files of the folder `new`, as one commit without a past: a page that is renewed for years does
# not grow. Needs: url branch root. Ends with 49 where the branch shows something else.
set -eu
cd "$root"
git init -q repo
cd repo
there=$(git ls-remote --heads "$url" "refs/heads/$branch")
there=${there%%[!0-9a-f]*}
tree=
if [ -n "$there" ]; then
    git fetch -q --depth 1 --no-tags "$url" "refs/heads/$branch"
    there=$(git rev-parse FETCH_HEAD)
    tree=$(git rev-parse 'FETCH_HEAD^{tree}')
    git read-tree "$tree"
    if git cat-file -e "$tree:.linkflow-page" 2>/dev/null; then
        git cat-file -p "$tree:.linkflow-page" | git update-index --force-remove --stdin
    elif git cat-file -e "$tree:index.html" 2>/dev/null; then
        echo "the branch $branch has an index.html that LinkFlow did not put there" >&2
        exit 49
    fi
fi
(cd ../new && git --git-dir="$root/repo/.git" --work-tree=. add --ignore-removal --force .)
made=$(git write-tree)
[ "$made" != "$tree" ] || exit 0
commit=$(git commit-tree -m "The status page" "$made")
# Nothing is put over what somebody else has pushed meanwhile.
git push -q --force-with-lease="refs/heads/$branch:$there" "$url" "$commit:refs/heads/$branch"
git diff-tree -r --no-renames --name-status "${tree:-$(git mktree </dev/null)}" "$made"
