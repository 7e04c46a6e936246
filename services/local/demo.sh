#!/bin/sh
# The demo: every step is a command that you can type yourself; it is printed before it runs.
set -eu
bin=.venvs/serve/bin
demo=${MICSERVE_HOME:?run it with make demo}/demo
started=$(date +%s)

step() { printf '\n\033[1m%s\033[0m\n' "$1"; }
run() {
    line=""
    for word in "$@"; do
        case $word in *' '*) line="$line '$word'" ;; *) line="$line $word" ;; esac
    done
    printf '\033[2m$%s\033[0m\n' "$line"
    "$@"
}

step "1/6  Start the registry, the Noise2Void service and the gateway"
run make --no-print-directory up

step "2/6  Make images: fluorescent spots, noisy as under a microscope, and their clean truth"
rm -rf "$demo/spots"
run $bin/micserve synthetic "$demo/spots"

step "3/6  Train Noise2Void on the noisy images alone, verify and publish the model"
run make --no-print-directory train-n2v DATA="$demo/spots/train/noisy" NAME=demo-spots PRESET=quick

step "4/6  Judge it on an image that it has not seen, beside the noisy input and a Gaussian filter"
run $bin/micserve qc --model demo-spots@candidate --source "$demo/spots/test/noisy" \
    --target "$demo/spots/test/clean" --report "$demo/report" --attach

step "5/6  Let everybody use this version"
run $bin/micserve promote demo-spots@candidate --reason "made by make demo"

step "6/6  Denoise through the gateway, as Fiji or a script would"
in=$(ls "$demo"/spots/test/noisy/*.tif | head -n 1)
out=$demo/denoised.tif
url=$MICSERVE_URL/v1/models/demo-spots/predict
run curl --fail-with-body --silent --show-error --data-binary @"$in" -o "$out" "$url"

step "Done in $(($(date +%s) - started)) seconds"
cat <<EOF
  Report      $demo/report/report.html
  Denoised    $out
  Gateway     $MICSERVE_URL        (API at $MICSERVE_URL/docs)
  Registry    $MICSERVE_REGISTRY        (losses, versions, files)

Try next
  curl --data-binary @$in -o denoised.tif $url
  $bin/micserve models
  make train-n2v DATA=your/folder NAME=n2v-mine
  make down
EOF
