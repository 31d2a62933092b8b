// images assembles single-layer container images from files of this machine and pushes them to a registry,
// or writes one as a docker archive. It reads a JSON list of specifications from standard input.
//
//	images push HOST:PORT   < specs.json
//	images archive OUT.tar  < specs.json   (exactly one)
package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Specification of one image. Paths inside the image have no leading slash.
type specification struct {
	Reference  string            `json:"reference"`
	Files      map[string]string `json:"files"` // path in the image: file on this machine
	Texts      map[string]string `json:"texts"` // path in the image: content
	Links      map[string]string `json:"links"` // path in the image: target
	Dirs       []string          `json:"dirs"`
	Entrypoint []string          `json:"entrypoint"`
	Cmd        []string          `json:"cmd"`
	User       string            `json:"user"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return errors.New("usage: images push HOST:PORT | images archive OUT.tar")
	}
	var specs []specification
	if err := json.NewDecoder(os.Stdin).Decode(&specs); err != nil {
		return fmt.Errorf("reading specifications: %w", err)
	}
	switch os.Args[1] {
	case "push":
		return pushAll(os.Args[2], specs)
	case "archive":
		return archive(os.Args[2], specs)
	}
	return fmt.Errorf("unknown command %q", os.Args[1])
}

func pushAll(registry string, specs []specification) error {
	failures := make([]error, len(specs))
	var wait sync.WaitGroup
	slots := make(chan struct{}, 4)
	for i, spec := range specs {
		wait.Add(1)
		go func() {
			defer wait.Done()
			slots <- struct{}{}
			defer func() { <-slots }()
			failures[i] = push(registry, spec)
		}()
	}
	wait.Wait()
	return errors.Join(failures...)
}

func push(registry string, spec specification) error {
	reference, err := name.ParseReference(registry+"/"+spec.Reference, name.Insecure)
	if err != nil {
		return fmt.Errorf("%s: %w", spec.Reference, err)
	}
	image, err := build(spec)
	if err != nil {
		return fmt.Errorf("%s: %w", spec.Reference, err)
	}
	if err := remote.Write(reference, image); err != nil {
		return fmt.Errorf("%s: %w", spec.Reference, err)
	}
	return nil
}

func archive(out string, specs []specification) error {
	if len(specs) != 1 {
		return fmt.Errorf("an archive holds one image, not %d", len(specs))
	}
	tag, err := name.NewTag(specs[0].Reference)
	if err != nil {
		return err
	}
	image, err := build(specs[0])
	if err != nil {
		return err
	}
	return tarball.WriteToFile(out, tag, image)
}

func build(spec specification) (v1.Image, error) {
	content, err := layerContent(spec)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	config.Config.Entrypoint, config.Config.Cmd, config.Config.User = spec.Entrypoint, spec.Cmd, spec.User
	return mutate.ConfigFile(image, config)
}

// layerContent is the same for the same specification: no times, sorted paths.
func layerContent(spec specification) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, dir := range spec.Dirs {
		mode := int64(0o755)
		if dir == "tmp" {
			mode = 0o1777
		}
		if err := writer.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: mode}); err != nil {
			return nil, err
		}
	}
	for _, path := range sorted(spec.Files) {
		data, err := os.ReadFile(spec.Files[path])
		if err != nil {
			return nil, err
		}
		if err := writeFile(writer, path, data); err != nil {
			return nil, err
		}
	}
	for _, path := range sorted(spec.Texts) {
		if err := writeFile(writer, path, []byte(spec.Texts[path])); err != nil {
			return nil, err
		}
	}
	for _, path := range sorted(spec.Links) {
		header := &tar.Header{Name: path, Typeflag: tar.TypeSymlink, Linkname: spec.Links[path], Mode: 0o777}
		if err := writer.WriteHeader(header); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

func writeFile(writer *tar.Writer, path string, data []byte) error {
	if err := writer.WriteHeader(&tar.Header{Name: path, Size: int64(len(data)), Mode: 0o755}); err != nil {
		return err
	}
	_, err := writer.Write(data)
	return err
}

func sorted(entries map[string]string) []string {
	paths := make([]string, 0, len(entries))
	for path := range entries {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	return paths
}
