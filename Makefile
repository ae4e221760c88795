# A thin front for Meson: `make` builds into build/.

.PHONY: all quick
all: build/build.ninja
	@ninja -C build

quick: all
	@meson test -C build --suite unit --no-rebuild --print-errorlogs

build/build.ninja:
	@meson setup build
