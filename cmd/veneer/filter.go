package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/veneer-build/veneer"
)

// filterFlags are --filter and the name of veneer images. The images of before= and
// since= are looked up later.
type filterFlags struct {
	veneer.ImageFilter
	before, since string
}

// parseFilters reads KEY=VALUE of --filter, and the argument, which is a pattern.
func parseFilters(list, args []string) (*filterFlags, error) {
	f := &filterFlags{}
	// docker's words for what an argument names: what has no tag is all of a name.
	f.References = append(f.References, args...)
	for _, text := range list {
		key, value, found := strings.Cut(text, "=")
		if !found || value == "" {
			return nil, usagef("--filter %s: want KEY=VALUE", text)
		}
		if err := f.set(key, value); err != nil {
			return nil, usagef("--filter %s: %w", text, err)
		}
	}
	if len(args) > 0 && args[0] == "" {
		return nil, usagef("NAME is empty")
	}
	return f, asUsage(f.Check())
}

func (f *filterFlags) set(key, value string) error {
	switch key {
	case "reference":
		f.References = append(f.References, value)
	case "label":
		f.Labels = append(f.Labels, value)
	case "before", "since":
		if _, err := veneer.ParseRef(value); err != nil {
			return err
		}
		if key == "before" {
			f.before = value
		} else {
			f.since = value
		}
	case "dangling":
		yes, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New("want true or false")
		}
		f.Dangling = &yes
	case "pinned":
		yes, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New("want true or false")
		}
		f.Pinned = &yes
	default:
		return errors.New("the keys are reference, label, before, since, dangling and pinned")
	}
	return nil
}

// list lists the images that the filter takes.
func (f *filterFlags) list(ctx context.Context, e *veneer.Engine) ([]veneer.Listed, error) {
	var err error
	if f.before != "" {
		if f.Before, err = createdOf(ctx, e, f.before); err != nil {
			return nil, err
		}
	}
	if f.since != "" {
		if f.Since, err = createdOf(ctx, e, f.since); err != nil {
			return nil, err
		}
	}
	all, err := veneer.Images(ctx, e)
	if err != nil {
		return nil, err
	}
	var list []veneer.Listed
	for i := range all {
		if f.Takes(&all[i]) {
			list = append(list, all[i])
		}
	}
	return list, nil
}

func createdOf(ctx context.Context, e *veneer.Engine, ref string) (time.Time, error) {
	img, err := veneer.Inspect(ctx, e, ref, "")
	if err != nil {
		return time.Time{}, err
	}
	if img.Config.Created == nil {
		return time.Time{}, fmt.Errorf("image %s: its config does not say when it was created", ref)
	}
	return *img.Config.Created, nil
}
