// SPDX-License-Identifier: BSD-3-Clause

package archive_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"testing/fstest"
	"time"

	"github.com/kheaders/kheaders/module/archive"
)

// A tiny kernel that was built in its source tree. For a real one, FS is
// os.DirFS("/") and Source the path below that.
func Example() {
	tree := fstest.MapFS{}
	for name, text := range map[string]string{
		"linux/include/linux/toy.h":            "/* A comment. */\nint toy;\n",
		"linux/include/generated/autoconf.h":   "#define CONFIG_64BIT 1\n",
		"linux/include/generated/utsrelease.h": "#define UTS_RELEASE \"6.12.1\"\n",
		"linux/arch/x86/include/asm/toy.h":     "int arch;\n",
	} {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	var packed bytes.Buffer
	_, err := archive.Write(context.Background(), &packed, archive.Trees{FS: tree, Source: "linux", SrcArch: "x86"},
		archive.Options{ModTime: time.Unix(0, 0), Compress: archive.NewXZWriter})
	if err != nil {
		log.Fatal(err)
	}

	// The limits keep a hostile archive from using up memory and disk.
	info, err := archive.Walk(context.Background(), &packed, archive.DefaultLimits, func(e archive.Entry, _ io.Reader) error {
		fmt.Println(e.Name)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Release, info.SrcArch, info.Files, "headers")
	// Output:
	// .
	// arch
	// arch/x86
	// arch/x86/include
	// arch/x86/include/asm
	// arch/x86/include/asm/toy.h
	// include
	// include/generated
	// include/generated/autoconf.h
	// include/generated/utsrelease.h
	// include/linux
	// include/linux/toy.h
	// 6.12.1 x86 4 headers
}
