package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// valid is the error that the API server would answer, which validates what it converts all versions to. A Job is
// validated as the template of one is: the selector is made with the Job.
func valid(object runtime.Object) error {
	internal, err := legacyscheme.Scheme.ConvertToVersion(object, runtime.InternalGroupVersioner)
	if err != nil {
		return err
	}
	var errs field.ErrorList
	switch o := internal.(type) {
	case *core.Namespace:
		errs = validation.ValidateNamespace(o)
	case *core.ServiceAccount:
		errs = validation.ValidateServiceAccount(o)
	case *apps.DaemonSet:
		errs = appsvalidation.ValidateDaemonSet(o, podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
	case *batch.Job:
		template := batch.JobTemplateSpec{Spec: o.Spec}
		errs = batchvalidation.ValidateJobTemplateSpec(&template, field.NewPath("job"), podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
	case *batch.CronJob:
		errs = batchvalidation.ValidateCronJobCreate(o, podutil.GetValidationOptionsFromPodTemplate(&o.Spec.JobTemplate.Spec.Template, nil))
	default:
		return fmt.Errorf("no rules are known here for %T", o)
	}
	return errs.ToAggregate()
}
