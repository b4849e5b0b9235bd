# Sourced: where the tools are that scripts/setup installed.
[ -d "$HOME/.cargo/bin" ] && PATH="$HOME/.cargo/bin:$PATH"
# bindgen must take the libclang whose headers are installed; a newer one without headers may be found first.
if [ -z "${LIBCLANG_PATH:-}" ]; then
  for dir in /usr/lib/llvm-*/lib; do
    if compgen -G "$dir/libclang*.so*" >/dev/null && [ -d "$dir/clang" ]; then export LIBCLANG_PATH="$dir"; fi
  done
fi
export PATH
