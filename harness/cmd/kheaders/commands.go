// SPDX-License-Identifier: BSD-3-Clause

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kheaders/kheaders/harness"
	"github.com/kheaders/kheaders/harness/cache"
	"github.com/kheaders/kheaders/harness/doctor"
	"github.com/kheaders/kheaders/harness/guest"
	"github.com/kheaders/kheaders/harness/headers"
	"github.com/kheaders/kheaders/harness/hint"
	"github.com/kheaders/kheaders/harness/kernel"
	"github.com/kheaders/kheaders/harness/qemu"
	"github.com/kheaders/kheaders/harness/run"
	"github.com/kheaders/kheaders/harness/target"
	"github.com/kheaders/kheaders/harness/verdict"
	"github.com/kheaders/kheaders/module/source"
)

// cacheFlag declares --cache. Its default follows the user's cache directory.
func (c *call) cacheFlag() *string {
	dir := ""
	if user, err := os.UserCacheDir(); err == nil {
		dir = filepath.Join(user, "kheaders")
	}
	return c.flags.String("cache", dir, "keep results in `DIR` between runs")
}

// listFlag declares a flag that may be given several times.
func (c *call) listFlag(name, usage string) *[]string {
	var list []string
	c.flags.Func(name, usage, func(s string) error {
		list = append(list, s)
		return nil
	})
	return &list
}

func (c *call) targetFlag() *string {
	return c.flags.String("arch", "", "the kernel's `ARCH`itecture: "+strings.Join(target.Names(), ", "))
}

func (c *call) compressorFlag() *string {
	return c.flags.String("compressor", "xz", "make the archive with this `COMPRESSOR`: xz is small, go needs no other program")
}

// lookup finds an architecture that the user named.
func lookup(name string) (target.Target, error) {
	t, err := target.Lookup(name)
	if err != nil {
		return t, hint.Usage(err, "use --arch "+strings.Join(target.Names(), " or --arch "))
	}
	return t, nil
}

// checkProfile refuses a profile that there is not, before anything is
// downloaded for it.
func checkProfile(name string) error {
	if !slices.Contains(kernel.Profiles(), name) {
		return hint.Usage(fmt.Errorf("unknown profile %q", name), "use --profile "+strings.Join(kernel.Profiles(), " or --profile "))
	}
	return nil
}

func checkMode(name string) error {
	if !slices.Contains(harness.Modes(), name) {
		return hint.Usage(fmt.Errorf("unknown mode %q", name), "use --mode "+strings.Join(harness.Modes(), ", "))
	}
	return nil
}

func spec(text string) (kernel.Spec, error) {
	if text == "" {
		return kernel.Default()
	}
	return kernel.ParseSpec(text)
}

// matrixFlags declares the flags of a run and returns the function that makes
// a configuration of them.
func (c *call) matrixFlags(defaultArchs ...string) func() (harness.Config, error) {
	kernels := c.listFlag("kernel", "test this kernel: a `SPEC` such as debian:6.12, debian-image:6.1, a directory, a tarball, a URL with #sha256=…; repeatable")
	archs := c.listFlag("arch", "test on this `ARCH`itecture; repeatable (default "+strings.Join(defaultArchs, " and ")+")")
	profiles := c.listFlag("profile", "use this kernel configuration `PROFILE`; repeatable (default "+kernel.DefaultProfile+")")
	modes := c.listFlag("mode", "test the headers in this `MODE`; repeatable (default "+harness.ModeModule+")")
	dir := c.cacheFlag()
	results := c.flags.String("results", filepath.Join("out", "qemu-test"), "write everything to `DIR`")
	accel := c.flags.String("accel", "auto", "run QEMU with this `ACCEL`erator: auto, kvm, tcg")
	kvm := c.flags.String("kvm-device", "/dev/kvm", "the KVM device is `FILE`")
	thorough := c.flags.Bool("thorough", false, "have the guest decode the whole archive, not its start")
	bpf := c.flags.Bool("bpf", false, "have the guest load a BPF program that clang has compiled against the archive")
	jobs := c.flags.Int("jobs", 0, "run `N` compilers at once (default one per processor)")
	kernelArgs := c.flags.String("append", "", "add `ARGS` to the kernel's command line: loglevel=8 shows the whole boot")
	tests := c.flags.String("tests", guest.Tests, "run the guest tests of this Go `PACKAGE`")
	compressor := c.compressorFlag()
	allow := c.flags.String("allow", "", "let the kernel report what is listed in `FILE`, as NAME: TEXT # REASON a line")
	keep := c.flags.Bool("keep", false, "keep copies of all that is booted with the results")
	silence := c.flags.Duration("silence", 0, "give a guest up after this `TIME` without output under KVM; ten times that under TCG (default 6s)")
	perTest := c.flags.Duration("test-deadline", 0, "give a guest up when one test takes longer than this `TIME` under KVM; ten times that under TCG (default 10s)")
	deadline := c.flags.Duration("deadline", 0, "give a guest up after this `TIME` under KVM; ten times that under TCG (default 20s)")
	return func() (harness.Config, error) {
		config := harness.Config{
			Cache: *dir, Results: *results, Profiles: *profiles, Modes: *modes,
			Accel: *accel, KVM: *kvm, Thorough: *thorough, BPF: *bpf, Jobs: *jobs, Tests: *tests, Compressor: *compressor,
			Silence: *silence, TestDeadline: *perTest, Deadline: *deadline, Keep: *keep, KernelArgs: strings.Fields(*kernelArgs),
			Progress: func(line string) { fmt.Fprintln(c.stdout, line) },
			Command:  c.repeat(),
		}
		if len(*kernels) == 0 {
			*kernels = []string{""}
		}
		for _, text := range *kernels {
			s, err := spec(text)
			if err != nil {
				return config, err
			}
			config.Kernels = append(config.Kernels, s)
		}
		if len(*archs) == 0 {
			*archs = defaultArchs
		}
		for _, name := range *archs {
			t, err := lookup(name)
			if err != nil {
				return config, err
			}
			config.Targets = append(config.Targets, t)
		}
		if len(config.Profiles) == 0 {
			config.Profiles = []string{kernel.DefaultProfile}
		}
		for _, profile := range config.Profiles {
			if err := checkProfile(profile); err != nil {
				return config, err
			}
		}
		if len(config.Modes) == 0 {
			config.Modes = []string{harness.ModeModule}
		}
		for _, mode := range config.Modes {
			if err := checkMode(mode); err != nil {
				return config, err
			}
		}
		if accels := []string{"auto", string(qemu.KVM), string(qemu.TCG)}; !slices.Contains(accels, config.Accel) {
			return config, hint.Usage(fmt.Errorf("unknown accelerator %q", config.Accel), "use --accel auto, kvm or tcg")
		}
		if err := headers.CheckCompressor(config.Compressor); err != nil {
			return config, err
		}
		if *allow != "" {
			list, err := readAllowlist(*allow)
			if err != nil {
				return config, err
			}
			config.Allow = list
		}
		return config, absolute(&config)
	}
}

// readAllowlist reads the list of what the kernel may report.
func readAllowlist(path string) (_ verdict.Allowlist, err error) {
	const advice = "write one entry a line, as NAME: TEXT # REASON, with NAME and TEXT of a finding in results.json"
	f, err := os.Open(path)
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("reading the allowlist: %w", err), advice)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	list, err := verdict.ParseAllowlist(f)
	if err != nil {
		return nil, hint.Usage(fmt.Errorf("%s: %w", path, err), advice)
	}
	return list, nil
}

// checkOutput refuses a file that cannot be made, before any work is done for
// it.
func checkOutput(path string) error {
	if err := checkParent(path); err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return hint.Usage(fmt.Errorf("writing %s: it is a directory", path), "name a file in it")
	}
	return nil
}

// checkParent refuses a path whose directory is not there.
func checkParent(path string) error {
	dir := filepath.Dir(filepath.Clean(path))
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", dir)
	}
	if err != nil {
		return hint.Usage(fmt.Errorf("writing %s: %w", path, err), "make the directory above it first, or choose another place")
	}
	return nil
}

// checkInput refuses an archive that cannot be one by what it is on disk.
func checkInput(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory", path)
	}
	if err != nil {
		return hint.Usage(err, "name a kheaders.tar.xz")
	}
	return nil
}

// absolute makes a configuration's directories independent of where we run.
func absolute(config *harness.Config) (err error) {
	if config.Repo, err = guest.FindRepo("."); err != nil {
		return err
	}
	if config.Results, err = filepath.Abs(config.Results); err != nil {
		return err
	}
	config.Cache, err = makeCache(config.Cache)
	return err
}

// makeCache makes the cache directory, and returns it independent of where we
// run.
func makeCache(dir string) (string, error) {
	if dir == "" {
		return "", hint.Usage(errors.New("no cache directory: neither XDG_CACHE_HOME nor HOME is set"), "use --cache DIR")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", hint.Usage(fmt.Errorf("making the cache directory: %w", err), "choose another one with --cache DIR or XDG_CACHE_HOME")
	}
	return dir, nil
}

// repeat returns the command line without the flags that select a cell, for
// the command that repeats one.
func (c *call) repeat() []string {
	argv := []string{"go", "run", "./harness/cmd/kheaders", c.name}
	c.flags.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "kernel", "arch", "profile", "mode", "install":
		default:
			argv = append(argv, "--"+f.Name+"="+f.Value.String())
		}
	})
	return argv
}

func runTest(ctx context.Context, c *call) error {
	config := c.matrixFlags(target.Names()...)
	install := c.flags.Bool("install", false, "install first what is missing, with apt")
	quiet := c.flags.Bool("json", false, "print results.json instead of progress and table")
	if _, err := c.parse(0); err != nil {
		return err
	}
	cfg, err := config()
	if err != nil {
		return err
	}
	cfg.Install = *install
	if *quiet {
		cfg.Progress = nil
	}
	result, err := harness.Run(ctx, cfg)
	if err != nil {
		return err
	}
	if *quiet {
		if err := result.JSON(c.stdout); err != nil {
			return err
		}
	} else if err := result.Table(c.stdout); err != nil {
		return err
	}
	if err := result.Explain(c.stderr); err != nil {
		return err
	}
	if code := result.ExitCode(); code != exitPass {
		return &verdictError{code}
	}
	return nil
}

func runShell(ctx context.Context, c *call) error {
	config := c.matrixFlags(target.Names()[0])
	gdb := c.flags.Bool("gdb", false, "wait for a debugger on port 1234")
	if _, err := c.parse(0); err != nil {
		return err
	}
	cfg, err := config()
	if err != nil {
		return err
	}
	// A test has a verdict for it; we find out before anything is built.
	if err := doctor.Error(cfg.Missing(ctx, cfg.Cells()...)); err != nil {
		return err
	}
	boot, release, err := harness.Prepare(ctx, cfg)
	if err != nil {
		return err
	}
	defer release()
	argv, err := boot.Shell(*gdb)
	if err != nil {
		return err
	}
	// We become QEMU: the terminal, and Ctrl-C, are its own.
	path, err := run.Look(argv[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, argv, os.Environ())
}

func runKernel(ctx context.Context, c *call) error {
	text := c.flags.String("kernel", "", "build or fetch this kernel: a `SPEC` as for test (default debian:6.12)")
	arch := c.targetFlag()
	profile := c.flags.String("profile", kernel.DefaultProfile, "use this kernel configuration `PROFILE`")
	jobs := c.flags.Int("jobs", 0, "run `N` compilers at once (default one per processor)")
	dir := c.cacheFlag()
	asJSON := c.flags.Bool("json", false, "print a JSON object")
	if _, err := c.parse(0); err != nil {
		return err
	}
	if err := c.required("arch"); err != nil {
		return err
	}
	t, err := lookup(*arch)
	if err != nil {
		return err
	}
	from, err := spec(*text)
	if err != nil {
		return err
	}
	if err := checkProfile(*profile); err != nil {
		return err
	}
	if err := from.CheckProfile(*profile); err != nil {
		return err
	}
	if *jobs < 0 {
		return hint.Usage(errors.New("jobs cannot be negative"), "leave --jobs out for one per processor")
	}
	if *dir, err = makeCache(*dir); err != nil {
		return err
	}
	progress := func(line string) { fmt.Fprintln(c.stderr, line) }
	store := cache.Store{Dir: *dir}
	source, err := kernel.Fetch(ctx, store, from, progress, t)
	if err != nil {
		return harness.Advise(err, t)
	}
	built, err := kernel.Build(ctx, store, source, kernel.BuildOptions{Target: t, Profile: *profile, Jobs: *jobs, Progress: progress})
	if err != nil {
		return harness.Advise(err, t)
	}
	if *asJSON {
		return printJSON(c.stdout, struct {
			Release string `json:"release"`
			Arch    string `json:"arch"`
			Source  string `json:"source"`
			Build   string `json:"build"`
			Image   string `json:"image"`
			Config  string `json:"config"`
			Cached  bool   `json:"cached"`
		}{built.Release, t.Name, built.SourceDir, built.Dir, built.Image, built.Config, built.Cached})
	}
	for _, line := range [][2]string{
		{"release", built.Release}, {"source", built.SourceDir}, {"build", built.Dir}, {"image", built.Image}, {"config", built.Config},
	} {
		fmt.Fprintf(c.stdout, "%-8s %s\n", line[0], line[1])
	}
	return nil
}

func runArchive(ctx context.Context, c *call) error {
	source := c.flags.String("source", "", "the kernel's source `DIR`ectory")
	build := c.flags.String("build", "", "its object `DIR`ectory (default: built in the source)")
	arch := c.targetFlag()
	output := c.flags.String("output", "", "write the archive to `FILE`")
	compressor := c.compressorFlag()
	comments := c.flags.String("comments", "strip", "strip or keep the headers' comments: `strip|keep`")
	dir := c.cacheFlag()
	asJSON := c.flags.Bool("json", false, "print a JSON object")
	if _, err := c.parse(0); err != nil {
		return err
	}
	if err := c.required("source", "arch", "output"); err != nil {
		return err
	}
	t, err := lookup(*arch)
	if err != nil {
		return err
	}
	if *comments != "strip" && *comments != "keep" {
		return hint.Usage(fmt.Errorf("--comments cannot be %q", *comments), "use --comments=strip or --comments=keep")
	}
	if err := checkOutput(*output); err != nil {
		return err
	}
	options := headers.Options{
		Source: *source, Build: *build, Target: t, Output: *output, Compressor: *compressor, KeepComments: *comments == "keep",
	}
	if *dir != "" {
		options.State = filepath.Join(*dir, "index")
	}
	result, err := headers.Pack(ctx, options)
	if err != nil {
		return harness.Advise(err, t)
	}
	if *asJSON {
		return printJSON(c.stdout, result)
	}
	unchanged := ""
	if result.Unchanged {
		unchanged = "unchanged, "
	}
	fmt.Fprintf(c.stdout, "%s: %s%d bytes, %d headers, sha256 %s\n", result.Path, unchanged, result.Size, result.Files, result.SHA256)
	return nil
}

func runInfo(ctx context.Context, c *call) error {
	asJSON := c.flags.Bool("json", false, "print a JSON object")
	args, err := c.parse(1)
	if err != nil {
		return err
	}
	if err := checkInput(args[0]); err != nil {
		return err
	}
	info, err := headers.Inspect(ctx, args[0])
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(c.stdout, info)
	}
	links := ""
	if info.Links > 0 {
		links = fmt.Sprintf(", and %d links to some", info.Links)
	}
	for _, line := range [][2]any{
		{"release", info.Release},
		{"architecture", fmt.Sprintf("%s, %d bit", info.Arch, info.Bits)},
		{"headers", fmt.Sprintf("%d in %d directories%s", info.Files, info.Dirs, links)},
		{"content", fmt.Sprintf("%d bytes, %d as tar", info.HeaderBytes, info.TarBytes)},
		{"archive", fmt.Sprintf("%d bytes", info.Size)},
		{"compression", fmt.Sprintf("xz, %s, %d blocks, check %s", info.Compression.LZMA, info.Compression.Blocks, info.Compression.Check)},
		{"dated", info.ModTime.UTC().Format(time.RFC3339)},
		{"sha256", info.SHA256},
	} {
		fmt.Fprintf(c.stdout, "%-12s %v\n", line[0], line[1])
	}
	return nil
}

func runExtract(ctx context.Context, c *call) error {
	args, err := c.parse(2)
	if err != nil {
		return err
	}
	if err := checkInput(args[0]); err != nil {
		return err
	}
	if err := checkParent(args[1]); err != nil {
		return err
	}
	info, err := headers.Extract(ctx, args[0], args[1])
	if err != nil {
		return harness.Advise(err, target.All()[0])
	}
	fmt.Fprintf(c.stdout, "%s: %d headers of %s\n", args[1], info.Files, info.Release)
	return nil
}

func runModule(ctx context.Context, c *call) error {
	archive := c.flags.String("archive", "", "embed this `FILE`")
	build := c.flags.String("build", "", "the object `DIR`ectory of the kernel that the module is for: what would not fit it is refused")
	dkms := c.flags.Bool("dkms", false, "write what dkms takes, to build the module for any kernel with that kernel's headers")
	output := c.flags.String("output", "", "write the module's source to `DIR`, which must not exist or be empty; with --in-tree, the patch to this file")
	inTree := c.flags.Bool("in-tree", false, "write a patch that builds the headers into a kernel")
	tree := c.flags.String("source", "", "with --in-tree, the patch is for the kernel tree in `DIR`")
	if _, err := c.parse(0); err != nil {
		return err
	}
	switch {
	case *inTree && *dkms:
		return hint.Usage(errors.New("--in-tree and --dkms are at odds"), "leave one of them out")
	case *inTree && *archive != "":
		return hint.Usage(errors.New("--archive and --in-tree are at odds: a kernel's own build packs the archive"), "leave one of them out")
	case *inTree && *build != "":
		return hint.Usage(errors.New("--build and --in-tree are at odds: the patch is for a source tree"), "leave one of them out")
	case *inTree:
		return c.writePatch(*tree, *output)
	case *tree != "":
		return hint.Usage(errors.New("--source is for --in-tree"), "add --in-tree, or leave --source out")
	case *dkms && (*archive != "" || *build != ""):
		return hint.Usage(errors.New("--dkms goes without --archive and --build: the headers are packed when DKMS builds for a kernel"), "leave them out, or leave --dkms out")
	}
	needed := []string{"archive", "output"}
	if *dkms {
		needed = []string{"output"}
	}
	if err := c.required(needed...); err != nil {
		return err
	}
	if !*dkms {
		if err := checkInput(*archive); err != nil {
			return err
		}
	}
	info, err := os.Stat(*output)
	if err == nil && !info.IsDir() {
		err = errors.New("it is not a directory")
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return hint.Usage(fmt.Errorf("writing %s: %w", *output, err), "name a directory that does not exist yet")
	}
	if *dkms {
		if err := harness.WriteDKMS(*output); err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "%s: dkms add %[1]s && dkms install %s/%s\n", *output, source.ModuleName, source.Version)
		return nil
	}
	if err := harness.WriteModule(ctx, *archive, *build, *output); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "%s: make -C KERNEL M=\"$PWD\" builds kheaders.ko in there\n", *output)
	return nil
}

func (c *call) writePatch(tree, output string) error {
	if err := c.required("source", "output"); err != nil {
		return err
	}
	if err := checkOutput(output); err != nil {
		return err
	}
	if err := harness.WritePatch(tree, output); err != nil {
		return harness.Advise(err, target.All()[0])
	}
	fmt.Fprintf(c.stdout, "%s: git am or patch -p1 adds CONFIG_%s\n", output, source.BuiltInSymbol)
	return nil
}

func runInitramfs(ctx context.Context, c *call) error {
	arch := c.targetFlag()
	module := c.flags.String("module", "", "put this kheaders.ko `FILE` in it")
	output := c.flags.String("output", "", "write the cpio archive to `FILE`")
	dir := c.cacheFlag()
	if _, err := c.parse(0); err != nil {
		return err
	}
	if err := c.required("arch", "module", "output"); err != nil {
		return err
	}
	t, err := lookup(*arch)
	if err != nil {
		return err
	}
	if err := checkOutput(*output); err != nil {
		return err
	}
	repo, err := guest.FindRepo(".")
	if err != nil {
		return err
	}
	if *dir, err = makeCache(*dir); err != nil {
		return err
	}
	return harness.WriteInitramfs(ctx, guest.Builder{Repo: repo, Store: cache.Store{Dir: *dir}}, t, *module, *output)
}

func runDoctor(ctx context.Context, c *call) error {
	archs := c.listFlag("arch", "look for what this `ARCH`itecture needs; repeatable (default all)")
	profiles := c.listFlag("profile", "look for what this `PROFILE` alone needs as well; repeatable (default all that gcc builds)")
	modes := c.listFlag("mode", "look for what this `MODE` of test alone needs as well; repeatable")
	bpf := c.flags.Bool("bpf", false, "look for what test --bpf needs as well")
	install := c.flags.Bool("install", false, "install what is missing, with apt")
	quiet := c.flags.Bool("quiet", false, "print nothing when nothing is missing")
	checks := c.flags.Bool("checks", false, "look for what make check-c needs as well")
	asJSON := c.flags.Bool("json", false, "print a JSON array")
	if _, err := c.parse(0); err != nil {
		return err
	}
	targets := target.All()
	if len(*archs) > 0 {
		targets = nil
	}
	for _, name := range *archs {
		t, err := lookup(name)
		if err != nil {
			return err
		}
		targets = append(targets, t)
	}
	for _, profile := range *profiles {
		if err := checkProfile(profile); err != nil {
			return err
		}
	}
	for _, mode := range *modes {
		if err := checkMode(mode); err != nil {
			return err
		}
	}
	// The rest of LLVM is large, and only for who asks for it.
	plain := slices.DeleteFunc(kernel.Profiles(), kernel.UsesClang)
	uses := slices.Concat(plain, *profiles, *modes)
	if *bpf {
		uses = append(uses, doctor.BPF)
	}
	examine := func() []doctor.Tool {
		tools := doctor.Needed(doctor.Examine(ctx, targets), uses...)
		if *checks {
			tools = append(tools, doctor.Checks()...)
		}
		return tools
	}
	if *install {
		progress := func(line string) { fmt.Fprintln(c.stderr, "+ "+line) }
		if err := doctor.Install(ctx, doctor.Missing(examine()), progress); err != nil {
			return err
		}
	}
	tools := examine()
	switch {
	case *asJSON:
		if err := printJSON(c.stdout, tools); err != nil {
			return err
		}
	case !*quiet:
		for _, tool := range tools {
			where := tool.Path
			if tool.Missing() {
				where = "missing (Debian: " + tool.Package + ")"
			}
			fmt.Fprintf(c.stdout, "%-24s %-36s %s\n", tool.Name, tool.For, where)
		}
	}
	return doctor.Error(doctor.Missing(tools))
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "\t")
	return encoder.Encode(v)
}
